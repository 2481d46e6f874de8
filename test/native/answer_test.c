/* answer_test.c - what native/nat.c answers itself: refusals of held SYNs, and packets that belong to no flow. */
#include <string.h>

#include "bench.h"

static uint8_t frame[SEGMENT_CAPACITY];

/* Feeds a SYN that says all that a SYN can, and takes its event. */
static struct segment held_syn(void) {
  struct segment syn = app_segment(SYN, ISS);
  syn.tcp_options = 20;
  syn.partial = true;
  feed(&syn);
  CHECK_EQUAL(bench.length, 0);
  bench_event(NAT_EVENT_SYN);
  return syn;
}

static void check_quotation(const struct icmp *icmp, const struct segment *segment) {
  size_t length = segment_write(segment, frame) - NAT_VNET_HDR_LEN;
  CHECK_EQUAL(icmp->quoted_length, length);
  CHECK(memcmp(icmp->quoted, frame + NAT_VNET_HDR_LEN, length) == 0);
}

/* -- Refusals ------------------------------------------------------------------------------------------------- */

static void test_refused_at_once(void) {
  struct segment syn = held_syn();
  refuse_flow(NAT_REFUSE_RESET);
  check_reset_of(&syn);
  CHECK_EQUAL(counters()->answered_reset, 1);
  CHECK_EQUAL(counters()->frames_held, 0);
  CHECK_EQUAL(counters()->flows_pending, 0);
  CHECK_EQUAL(counters()->flows_refused_total, 1);
  refuse_flow(NAT_REFUSE_RESET);
  CHECK_EQUAL(bench.length, 0);
  open_flow();
  CHECK_EQUAL(bench.length, 0);
  close_flow(); /* ignored: the refusal is still remembered */
  feed(&syn);
  check_reset_of(&syn);
  no_event();
}

static void check_delayed(enum nat_refusal refusal) {
  bench_start(true);
  struct segment syn = held_syn();
  bench.now += 2;
  refuse_flow(refusal);
  CHECK_EQUAL(bench.length, 0);
  CHECK_EQUAL(counters()->frames_held, 1);
  CHECK_EQUAL(nat_deadline(bench.nat), bench.now + NAT_ANSWER_DELAY_MS - 2);
  bench.now += NAT_ANSWER_DELAY_MS - 3;
  due();
  CHECK_EQUAL(bench.length, 0);
  feed(&syn); /* already? then the one answer serves for both */
  CHECK_EQUAL(bench.length, 0);
  CHECK_EQUAL(dropped(NAT_DROP_RETRANSMIT), 1);
  bench.now++;
  due();
  struct icmp icmp = check_refusal(refusal);
  check_quotation(&icmp, &syn);
  CHECK(memcmp(icmp.destination, bench_application(), 16) == 0);
  due();
  CHECK_EQUAL(bench.length, 0);
  CHECK_EQUAL(counters()->frames_held, 0);

  /* The same SYN again gets the same answer, at once; it is what is quoted. */
  bench.now += 1000;
  syn.partial = false;
  feed(&syn);
  icmp = check_refusal(refusal);
  check_quotation(&icmp, &syn);
  no_event();
  /* Anything else on the tuple has no connection. */
  struct segment stray = app_segment(ACK, ISS + 1);
  feed(&stray);
  check_reset_of(&stray);
  /* The memory ends. */
  pass(NAT_REFUSED_MS - 1000 + NAT_SWEEP_MS);
  feed(&syn);
  CHECK_EQUAL(bench.length, 0);
  bench_event(NAT_EVENT_SYN);
}

static void test_refused_with_icmp(void) {
  check_delayed(NAT_REFUSE_HOST);
  CHECK_EQUAL(counters()->answered_unreachable, 2);
  check_delayed(NAT_REFUSE_NETWORK);
  CHECK_EQUAL(counters()->answered_unreachable, 2);
  check_delayed(NAT_REFUSE_PROHIBITED);
  CHECK_EQUAL(counters()->answered_prohibited, 2);
}

static void test_refused_after_a_while(void) {
  struct segment syn = held_syn();
  bench.now += NAT_ANSWER_DELAY_MS;
  refuse_flow(NAT_REFUSE_NETWORK);
  struct icmp icmp = check_refusal(NAT_REFUSE_NETWORK);
  check_quotation(&icmp, &syn);
}

static void test_delayed_answers_in_order(void) {
  struct nat_event events[3];
  struct segment syn = app_segment(SYN, ISS);
  for (unsigned i = 0; i < 3; i++) {
    syn.source_port = (uint16_t)(50000 + i);
    feed(&syn);
    bench_event(NAT_EVENT_SYN);
    events[i] = bench.event;
    bench.now += 2;
  }
  bench.now -= 2;
  static const unsigned order[] = {2, 0, 1}; /* SYNs 0, 4 and 2 ms ago */
  for (unsigned i = 0; i < 3; i++) {
    bench.event = events[order[i]];
    refuse_flow(NAT_REFUSE_HOST);
    CHECK_EQUAL(bench.length, 0);
  }
  bench.now += NAT_ANSWER_DELAY_MS;
  for (unsigned i = 0; i < 3; i++) {
    due();
    struct icmp icmp = check_refusal(NAT_REFUSE_HOST);
    const uint8_t *tcp = icmp.quoted + (bench.family == 4 ? 20 : 40);
    CHECK_EQUAL(tcp[0] * 256 + tcp[1], 50000 + order[i]);
  }
  due();
  CHECK_EQUAL(bench.length, 0);
}

static void test_refused_in_silence(void) {
  struct segment syn = held_syn();
  refuse_flow(NAT_REFUSE_SILENT);
  CHECK_EQUAL(bench.length, 0);
  CHECK_EQUAL(dropped(NAT_DROP_SILENT), 1);
  CHECK_EQUAL(counters()->frames_held, 0);
  pass(1000);
  feed(&syn);
  CHECK_EQUAL(bench.length, 0);
  CHECK_EQUAL(dropped(NAT_DROP_SILENT), 2);
  no_event();
}

static void test_new_syn_after_a_refusal(void) {
  static const enum nat_refusal refusals[] = {NAT_REFUSE_RESET, NAT_REFUSE_HOST, NAT_REFUSE_SILENT};
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    bench_start(true);
    held_syn();
    refuse_flow(refusals[i]); /* the ICMP answer is still held: nobody wants it now */
    feed_app(SYN, ISS + 77);
    CHECK_EQUAL(bench.length, 0);
    bench_event(NAT_EVENT_SYN);
    CHECK_EQUAL(dropped(NAT_DROP_GIVEN_UP), refusals[i] == NAT_REFUSE_HOST);
    open_flow();
    CHECK(bench.length > 0);
    pass(NAT_ANSWER_DELAY_MS);
    no_event();
  }
}

/* -- No flow -------------------------------------------------------------------------------------------------- */

static void test_segments_without_a_flow(void) {
  static const uint8_t flags[] = {ACK, FIN | ACK, 0, SYN | FIN, SYN | ACK, PSH, FIN};
  for (size_t i = 0; i < sizeof flags; i++) {
    struct segment s = app_segment(flags[i], 5);
    s.payload = 7;
    feed(&s);
    check_reset_of(&s);
  }
  feed_app(RST, 5);
  feed_app(RST | ACK, 5);
  feed_app(RST | SYN, 5);
  CHECK_EQUAL(bench.length, 0);
  CHECK_EQUAL(dropped(NAT_DROP_UNANSWERABLE), 3);
  CHECK_EQUAL(counters()->answered_reset, 7);
  no_event();
}

static void test_port_0(void) {
  struct segment s = app_segment(SYN, 5);
  s.destination_port = 0;
  feed(&s);
  check_reset_of(&s);
  s.destination_port = 443;
  s.source_port = 0;
  feed(&s);
  check_reset_of(&s);
  no_event();
}

static void test_listener_without_a_flow(void) {
  static const struct {
    uint8_t peer;
    uint16_t port;
  } leases[] = {{0, 1024}, {3, 65535}, {0, 1023}, {0, 0}, {2, 5555}};
  for (size_t i = 0; i < sizeof leases / sizeof *leases; i++) {
    bench.event.lease_peer = leases[i].peer;
    bench.event.lease_port = leases[i].port;
    struct segment s = listener_segment(ACK | FIN);
    feed(&s);
    check_reset_of(&s);
    feed_listener(RST);
    CHECK_EQUAL(bench.length, 0);
  }
  /* A lease of the other family, and one that is only pending. */
  feed_app(SYN, ISS);
  bench_event(NAT_EVENT_SYN);
  struct segment s = listener_segment(ACK);
  feed(&s);
  check_reset_of(&s);
  open_flow();
  bench.family = (uint8_t)(10 - bench.family);
  s = listener_segment(ACK);
  feed(&s);
  check_reset_of(&s);
  bench.family = (uint8_t)(10 - bench.family);
  forwards_listener(SYN | ACK);
}

/* From the listener's address, but another port or to no peer: that is an application like any other. */
static void test_our_own_block(void) {
  struct segment s = app_segment(SYN, ISS);
  memcpy(s.source, bench_listener(), 16);
  memcpy(s.destination, bench_first_peer(), 16);
  feed(&s);
  bench_event(NAT_EVENT_SYN);
  open_flow();
  s = app_segment(SYN, ISS);
  memcpy(s.source, bench_listener(), 16);
  s.source_port = LISTEN_PORT;
  memcpy(s.destination, bench_first_peer(), 16);
  s.destination[bench.family == 4 ? 3 : 15] += NAT_PEERS;
  feed(&s);
  bench_event(NAT_EVENT_SYN);
  s.destination[bench.family == 4 ? 3 : 15]--;
  feed(&s);
  check_reset_of(&s);
  /* Another prefix that ends like a peer; another host that uses the listener's port. */
  memcpy(s.destination, bench_destination(), 16);
  s.destination[bench.family == 4 ? 3 : 15] = bench_first_peer()[bench.family == 4 ? 3 : 15];
  feed(&s);
  bench_event(NAT_EVENT_SYN);
  memcpy(s.source, bench_application(), 16);
  memcpy(s.destination, bench_first_peer(), 16);
  feed(&s);
  bench_event(NAT_EVENT_SYN);
  no_event();
}

static void feed_ip(uint8_t protocol, const uint8_t *source, const uint8_t *destination, const void *payload,
                    size_t length) {
  feed_frame(frame, ip_write(frame, bench.family, source, destination, protocol, payload, length));
}

static void test_udp(void) {
  static const uint8_t datagram[2000] = {0x12, 0x34, 1, 187, 2000 >> 8, 2000 & 0xff};
  uint8_t small[8] = {0x12, 0x34, 1, 187, 0, 8};
  uint8_t type = bench.family == 4 ? 3 : 1, code = bench.family == 4 ? 3 : 4;
  feed_ip(17, bench_application(), bench_destination(), small, sizeof small);
  struct icmp icmp = check_unreachable(type, code, bench_destination());
  CHECK_EQUAL(icmp.quoted_length, (bench.family == 4 ? 28 : 48));
  feed_ip(17, bench_application(), bench_destination(), datagram, sizeof datagram);
  icmp = check_unreachable(type, code, bench_destination());
  CHECK_EQUAL(bench.length, NAT_VNET_HDR_LEN + (bench.family == 4 ? 576 : 1280));
  CHECK_EQUAL(counters()->answered_port_unreachable, 2);
}

static void test_other_protocols(void) {
  uint8_t echo[64] = {bench.family == 4 ? 8 : 128}, unreachable[64] = {bench.family == 4 ? 3 : 1};
  uint8_t icmp = bench.family == 4 ? 1 : 58;
  feed_ip(icmp, bench_application(), bench_destination(), echo, sizeof echo);
  check_refusal(NAT_REFUSE_PROHIBITED);
  feed_ip(132, bench_application(), bench_destination(), echo, sizeof echo);
  check_refusal(NAT_REFUSE_PROHIBITED);
  CHECK_EQUAL(counters()->answered_prohibited, 2);
  feed_ip(icmp, bench_application(), bench_destination(), unreachable, sizeof unreachable);
  CHECK_EQUAL(bench.length, 0);
  CHECK_EQUAL(dropped(NAT_DROP_UNANSWERABLE), 1);
}

static void test_never_answered(void) {
  static const uint8_t multicast4[16] = {224, 0, 0, 251}, multicast6[16] = {0xff, 2, [15] = 0xfb};
  static const uint8_t broadcast[16] = {255, 255, 255, 255}, loopback4[16] = {127, 0, 0, 1}, loopback6[16] = {[15] = 1};
  static const uint8_t unspecified[16];
  bool is4 = bench.family == 4;
  const uint8_t *multicast = is4 ? multicast4 : multicast6, *loopback = is4 ? loopback4 : loopback6;
  const struct {
    const uint8_t *source, *destination;
    enum nat_drop reason;
  } cases[] = {
      {bench_application(), multicast, NAT_DROP_MULTICAST},
      {bench_application(), is4 ? broadcast : multicast, NAT_DROP_MULTICAST},
      {multicast, bench_destination(), NAT_DROP_UNANSWERABLE},
      {is4 ? broadcast : multicast, bench_destination(), NAT_DROP_UNANSWERABLE},
      {unspecified, bench_destination(), NAT_DROP_UNANSWERABLE},
      {loopback, bench_destination(), NAT_DROP_UNANSWERABLE},
      {bench_application(), loopback, NAT_DROP_UNANSWERABLE},
      {bench_application(), unspecified, NAT_DROP_UNANSWERABLE},
  };
  static const uint8_t flags[] = {SYN, ACK};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint64_t before = dropped(cases[i].reason);
    uint8_t udp[8] = {1, 2, 3, 4, 0, 8}, echo[8] = {is4 ? 8 : 128};
    feed_ip(17, cases[i].source, cases[i].destination, udp, sizeof udp);
    CHECK_EQUAL(bench.length, 0);
    feed_ip(is4 ? 1 : 58, cases[i].source, cases[i].destination, echo, sizeof echo);
    CHECK_EQUAL(bench.length, 0);
    for (size_t j = 0; j < sizeof flags; j++) {
      struct segment s = app_segment(flags[j], ISS);
      memcpy(s.source, cases[i].source, 16);
      memcpy(s.destination, cases[i].destination, 16);
      feed(&s);
      CHECK_EQUAL(bench.length, 0);
    }
    CHECK_EQUAL(dropped(cases[i].reason), before + 4);
  }
  no_event();
}

static void test_fragments_and_rubbish(void) {
  struct segment s = app_segment(SYN, ISS);
  size_t length = segment_write(&s, frame);
  if (bench.family == 4) frame[NAT_VNET_HDR_LEN + 6] = 0x20;
  else frame[NAT_VNET_HDR_LEN + 6] = 44;
  feed_frame(frame, length);
  CHECK_EQUAL(dropped(NAT_DROP_FRAGMENT), 1);
  for (size_t cut = 0; cut < length; cut++) {
    segment_write(&s, frame);
    feed_frame(frame, cut);
    CHECK_EQUAL(bench.length, 0);
  }
  CHECK_EQUAL(dropped(NAT_DROP_MALFORMED), length);
  no_event();
}

static void test_family_that_is_not_captured(void) {
  bench_start(false);
  struct segment syn = app_segment(SYN, ISS);
  feed(&syn);
  CHECK_EQUAL(bench.length, 0);
  no_event();
  CHECK_EQUAL(nat_deadline(bench.nat), bench.now + NAT_ANSWER_DELAY_MS);
  bench.now += NAT_ANSWER_DELAY_MS;
  due();
  /* Without an address of our own, the destination's: the unspecified address must not speak. */
  struct icmp icmp = check_unreachable(bench.family == 4 ? 3 : 1, bench.family == 4 ? 13 : 1, bench_destination());
  check_quotation(&icmp, &syn);
  feed(&syn);
  check_unreachable(bench.family == 4 ? 3 : 1, bench.family == 4 ? 13 : 1, bench_destination());
  CHECK_EQUAL(counters()->flows_pending, 0);
  /* With zero addresses and port 0 nobody is the listener. */
  struct segment nobody = {.family = bench.family, .flags = ACK, .destination_port = 2000};
  feed(&nobody);
  CHECK_EQUAL(bench.length, 0);
  CHECK_EQUAL(dropped(NAT_DROP_UNANSWERABLE), 1);
}

int main(void) {
  static const struct named_test tests[] = {
      {"refused: RST at once", test_refused_at_once},
      {"refused: ICMP after a delay, again on a retransmit", test_refused_with_icmp},
      {"refused after a while: ICMP at once", test_refused_after_a_while},
      {"delayed answers come in the order of the refusals", test_delayed_answers_in_order},
      {"refused: silence", test_refused_in_silence},
      {"a new SYN after a refusal is a new flow", test_new_syn_after_a_refusal},
      {"segments without a flow", test_segments_without_a_flow},
      {"port 0", test_port_0},
      {"the listener's segments without a flow", test_listener_without_a_flow},
      {"our own block", test_our_own_block},
      {"UDP", test_udp},
      {"other protocols", test_other_protocols},
      {"what is never answered", test_never_answered},
      {"fragments and rubbish", test_fragments_and_rubbish},
      {"a family that is not captured", test_family_that_is_not_captured},
  };
  return bench_run(tests, sizeof tests / sizeof *tests);
}
