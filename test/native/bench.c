/* bench.c - an engine on the bench; see bench.h. */
#include "bench.h"

#include <string.h>

struct bench bench;

static const struct {
  uint8_t application[16], destination[16], listener[16], peer[16];
} addresses[2] = {
    {{192, 168, 7, 2}, {10, 1, 2, 3}, {198, 18, 3, 1}, {198, 18, 3, 2}},
    {{0x20, 1, 0xd, 0xb8, [15] = 7}, {0xfd, 0, 0, 9, [14] = 1}, {0x20, 1, 0, 2, [15] = 1}, {0x20, 1, 0, 2, [15] = 2}},
};

const uint8_t *bench_application(void) { return addresses[bench.family == 6].application; }
const uint8_t *bench_destination(void) { return addresses[bench.family == 6].destination; }
const uint8_t *bench_listener(void) { return addresses[bench.family == 6].listener; }
const uint8_t *bench_first_peer(void) { return addresses[bench.family == 6].peer; }

void bench_start(bool captured) {
  struct nat_config config = {.hash_seed = {1, 2}};
  nat_free(bench.nat);
  if (captured) {
    memcpy(config.listen4, addresses[0].listener, 4);
    memcpy(config.peer4, addresses[0].peer, 4);
    memcpy(config.listen6, addresses[1].listener, 16);
    memcpy(config.peer6, addresses[1].peer, 16);
    config.listen_port4 = config.listen_port6 = LISTEN_PORT;
  }
  bench = (struct bench){.nat = nat_new(&config), .now = 1000000, .family = bench.family};
  CHECK(bench.nat != NULL);
}

int bench_run(const struct named_test *tests, size_t count) {
  for (bench.family = 4; bench.family <= 6; bench.family += 2) {
    printf("IPv%d\n", bench.family);
    for (size_t i = 0; i < count; i++) {
      bench_start(true);
      frames_run(&tests[i], 1);
    }
  }
  nat_free(bench.nat);
  bench.nat = NULL;
  return 0;
}

const struct nat_counters *counters(void) { return nat_get_counters(bench.nat); }
uint64_t dropped(enum nat_drop reason) { return counters()->dropped[reason]; }

static void check_counters(void) {
  const struct nat_counters *c = counters();
  uint64_t sum = c->frames_forwarded + c->frames_answered + c->frames_held;
  for (int reason = 0; reason < NAT_DROP_REASONS; reason++) sum += c->dropped[reason];
  CHECK_EQUAL(sum, c->frames_in);
  CHECK_EQUAL(c->answered_reset + c->answered_unreachable + c->answered_prohibited + c->answered_port_unreachable,
              c->frames_answered);
}

/* -- Segments ------------------------------------------------------------------------------------------------- */

struct segment app_segment(uint8_t flags, uint32_t sequence) {
  struct segment s = {.family = bench.family, .flags = flags, .sequence = sequence, .source_port = 40001,
                      .destination_port = 443, .acknowledgement = flags & ACK ? 777 : 0};
  memcpy(s.source, bench_application(), 16);
  memcpy(s.destination, bench_destination(), 16);
  return s;
}

static void lease_address(uint8_t address[16]) {
  memcpy(address, bench_first_peer(), 16);
  address[bench.family == 4 ? 3 : 15] = (uint8_t)(address[bench.family == 4 ? 3 : 15] + bench.event.lease_peer);
}

struct segment listener_segment(uint8_t flags) {
  struct segment s = {.family = bench.family, .flags = flags, .sequence = 776, .acknowledgement = ISS + 1,
                      .source_port = LISTEN_PORT, .destination_port = bench.event.lease_port};
  memcpy(s.source, bench_listener(), 16);
  lease_address(s.destination);
  return s;
}

struct segment at_listener(const struct segment *from_application) {
  struct segment s = *from_application, listener = listener_segment(0);
  memcpy(s.source, listener.destination, 16);
  memcpy(s.destination, listener.source, 16);
  s.source_port = listener.destination_port;
  s.destination_port = listener.source_port;
  return s;
}

struct segment at_application(const struct segment *from_listener) {
  struct segment s = *from_listener;
  memset(s.source, 0, 16);
  memset(s.destination, 0, 16);
  memcpy(s.source, bench.event.destination, 16);
  memcpy(s.destination, bench.event.source, 16);
  s.source_port = bench.event.destination_port;
  s.destination_port = bench.event.source_port;
  return s;
}

/* -- Calls ---------------------------------------------------------------------------------------------------- */

void feed_frame(const uint8_t *frame, size_t length) {
  /* No more room than the contract asks for, so that AddressSanitizer sees what goes beyond. */
  size_t capacity = length < NAT_ANSWER_CAPACITY ? NAT_ANSWER_CAPACITY : length;
  uint8_t *exact = malloc(capacity);
  memset(exact, 0xee, capacity);
  memcpy(exact, frame, length);
  bench.length = nat_input(bench.nat, exact, length, bench.now);
  CHECK(bench.length <= capacity);
  memcpy(bench.out, exact, bench.length);
  free(exact);
  check_counters();
}

void feed(const struct segment *segment) {
  static uint8_t frame[SEGMENT_CAPACITY];
  feed_frame(frame, segment_write(segment, frame));
}

void feed_app(uint8_t flags, uint32_t sequence) {
  struct segment s = app_segment(flags, sequence);
  feed(&s);
}

void feed_listener(uint8_t flags) {
  struct segment s = listener_segment(flags);
  feed(&s);
}

void forwards_app(uint8_t flags, uint32_t sequence) {
  struct segment s = app_segment(flags, sequence), wanted = at_listener(&s);
  feed(&s);
  struct segment seen = segment_read(bench.out, bench.length);
  CHECK(segment_equal(&seen, &wanted));
}

void forwards_listener(uint8_t flags) {
  struct segment s = listener_segment(flags), wanted = at_application(&s);
  feed(&s);
  struct segment seen = segment_read(bench.out, bench.length);
  CHECK(segment_equal(&seen, &wanted));
}

void check_reset_of(const struct segment *segment) {
  struct segment seen = segment_read(bench.out, bench.length);
  bool ack = (segment->flags & ACK) != 0;
  uint32_t next = segment->sequence + segment->payload + ((segment->flags & SYN) != 0) + ((segment->flags & FIN) != 0);
  struct segment wanted = {.family = segment->family, .flags = ack ? RST : RST | ACK,
                           .source_port = segment->destination_port, .destination_port = segment->source_port,
                           .sequence = ack ? segment->acknowledgement : 0, .acknowledgement = ack ? 0 : next};
  memcpy(wanted.source, segment->destination, 16);
  memcpy(wanted.destination, segment->source, 16);
  CHECK(segment_equal(&seen, &wanted));
}

struct icmp check_unreachable(uint8_t type, uint8_t code, const uint8_t *source) {
  struct icmp icmp = icmp_read(bench.out, bench.length);
  CHECK_EQUAL(icmp.family, bench.family);
  CHECK_EQUAL(icmp.type, type);
  CHECK_EQUAL(icmp.code, code);
  CHECK(memcmp(icmp.source, source, 16) == 0);
  return icmp;
}

struct icmp check_refusal(enum nat_refusal refusal) {
  static const uint8_t codes[2][4] = {{255, 1, 0, 13}, {255, 3, 0, 1}};
  return check_unreachable(bench.family == 4 ? 3 : 1, codes[bench.family == 6][refusal], bench_first_peer());
}

void bench_event(enum nat_event_kind kind) {
  CHECK(nat_next_event(bench.nat, &bench.event));
  CHECK_EQUAL(bench.event.kind, kind);
  CHECK_EQUAL(bench.event.family, bench.family);
  CHECK(bench.event.flow < (uint64_t)1 << 52);
  CHECK(bench.event.lease_peer < NAT_PEERS);
  CHECK(bench.event.lease_port >= NAT_FIRST_PORT);
}

void no_event(void) {
  struct nat_event event;
  CHECK(!nat_next_event(bench.nat, &event));
}

void open_flow(void) {
  uint8_t out[NAT_ANSWER_CAPACITY];
  bench.length = nat_open(bench.nat, bench.event.flow, out, bench.now);
  memcpy(bench.out, out, bench.length);
  check_counters();
}

void refuse_flow(enum nat_refusal refusal) {
  uint8_t out[NAT_ANSWER_CAPACITY];
  bench.length = nat_refuse(bench.nat, bench.event.flow, refusal, out, bench.now);
  memcpy(bench.out, out, bench.length);
  check_counters();
}

void close_flow(void) {
  nat_close(bench.nat, bench.event.flow, bench.now);
  check_counters();
}

void due(void) {
  uint8_t out[NAT_ANSWER_CAPACITY];
  bench.length = nat_due(bench.nat, out, bench.now);
  memcpy(bench.out, out, bench.length);
  check_counters();
}

void pass(uint64_t milliseconds) {
  uint64_t until = bench.now + milliseconds;
  for (uint64_t next; (next = nat_deadline(bench.nat)) <= until;) {
    if (next > bench.now) bench.now = next;
    due();
    CHECK_EQUAL(bench.length, 0);
    CHECK(nat_deadline(bench.nat) > bench.now);
  }
  bench.now = until;
}

void establish(void) {
  feed_app(SYN, ISS);
  CHECK_EQUAL(bench.length, 0);
  bench_event(NAT_EVENT_SYN);
  open_flow();
  CHECK(bench.length > 0);
  forwards_listener(SYN | ACK);
  forwards_app(ACK, ISS + 1);
}
