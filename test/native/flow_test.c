/* flow_test.c - a flow's states in native/nat.c, one transition after the other, with time passed in. */
#include <string.h>

#include "bench.h"

static void test_whole_life(void) {
  struct segment syn = app_segment(SYN, ISS);
  syn.tcp_options = 20;
  syn.ip_options = bench.family == 4 ? 8 : 0;
  syn.partial = true;
  syn.hdr_len = 999; /* nobody may trust it, and it must come back as it was */
  feed(&syn);
  CHECK_EQUAL(bench.length, 0);
  CHECK_EQUAL(counters()->frames_held, 1);
  CHECK_EQUAL(counters()->flows_pending, 1);
  bench_event(NAT_EVENT_SYN);
  no_event();
  CHECK(memcmp(bench.event.source, bench_application(), 16) == 0);
  CHECK(memcmp(bench.event.destination, bench_destination(), 16) == 0);
  CHECK_EQUAL(bench.event.source_port, 40001);
  CHECK_EQUAL(bench.event.destination_port, 443);

  open_flow();
  struct segment seen = segment_read(bench.out, bench.length), wanted = at_listener(&syn);
  CHECK(segment_equal(&seen, &wanted));
  CHECK_EQUAL(counters()->frames_held, 0);
  CHECK_EQUAL(counters()->flows_live, 1);
  forwards_listener(SYN | ACK);
  forwards_app(ACK, ISS + 1);

  for (int partial = 0; partial < 2; partial++) {
    struct segment data = app_segment(ACK | PSH, ISS + 1);
    data.payload = 65535 - 60;
    data.partial = partial == 1;
    data.gso_type = bench.family == 4 ? 1 : 4;
    data.gso_size = 1460;
    data.tcp_options = 12;
    wanted = at_listener(&data);
    feed(&data);
    seen = segment_read(bench.out, bench.length);
    CHECK(segment_equal(&seen, &wanted));
    data = listener_segment(ACK);
    data.payload = 60001;
    data.partial = partial == 1;
    wanted = at_application(&data);
    feed(&data);
    seen = segment_read(bench.out, bench.length);
    CHECK(segment_equal(&seen, &wanted));
  }
  forwards_app(FIN | ACK, ISS + 1);
  CHECK_EQUAL(counters()->flows_live, 1);
  forwards_listener(FIN | ACK);
  CHECK_EQUAL(counters()->flows_live, 0);
  CHECK_EQUAL(counters()->flows_lingering, 1);
  forwards_app(ACK, ISS + 2);
  no_event();
  CHECK_EQUAL(counters()->flows_opened_total, 1);
  CHECK_EQUAL(counters()->frames_forwarded, counters()->frames_in);
}

static void test_retransmitted_syn(void) {
  feed_app(SYN, ISS);
  bench_event(NAT_EVENT_SYN);
  pass(1000);
  feed_app(SYN, ISS);
  CHECK_EQUAL(bench.length, 0);
  CHECK_EQUAL(dropped(NAT_DROP_RETRANSMIT), 1);
  no_event();
  open_flow();
  forwards_app(SYN, ISS);
  forwards_listener(SYN | ACK);
  forwards_app(ACK, ISS + 1);
  forwards_app(SYN, ISS + 5); /* RFC 9293 3.5.1: TCP finds out itself that one side has forgotten the connection */
  no_event();
}

static void test_half_closed_for_hours(void) {
  establish();
  forwards_app(FIN | ACK, ISS + 1);
  forwards_app(FIN | ACK, ISS + 1); /* sent again */
  pass(5 * 3600 * 1000);
  forwards_listener(ACK | PSH);
  CHECK_EQUAL(counters()->flows_live, 1);
  forwards_listener(FIN | ACK);
  CHECK_EQUAL(counters()->flows_live, 0);
  forwards_listener(FIN | ACK);
  forwards_app(ACK, ISS + 2);
}

static void test_idle_for_a_day(void) {
  establish();
  pass(24 * 3600 * 1000);
  forwards_listener(ACK);
  forwards_app(ACK, ISS + 1);
  CHECK_EQUAL(nat_deadline(bench.nat), UINT64_MAX);
}

/* The lease is there until `milliseconds` after the last packet, and gone a sweep later. */
static void check_linger(uint64_t milliseconds) {
  pass(milliseconds / 2);
  forwards_listener(ACK); /* restarts the clock */
  pass(milliseconds - 1);
  CHECK_EQUAL(counters()->flows_lingering, 1);
  pass(1 + NAT_SWEEP_MS);
  CHECK_EQUAL(counters()->flows_lingering, 0);
  struct segment late = listener_segment(ACK);
  feed(&late);
  check_reset_of(&late);
  CHECK_EQUAL(nat_deadline(bench.nat), UINT64_MAX);
}

static void test_linger_after_fins(void) {
  establish();
  forwards_listener(FIN | ACK);
  forwards_app(FIN | ACK, ISS + 1);
  forwards_app(RST, ISS + 2); /* who closed first may be in TIME_WAIT: no short cut */
  close_flow();
  check_linger(NAT_LINGER_MS);
}

static void test_linger_after_close(void) {
  establish();
  close_flow();
  close_flow();
  CHECK_EQUAL(counters()->flows_lingering, 1);
  check_linger(NAT_FLUSH_LINGER_MS);
}

static void test_linger_after_listeners_fin_and_close(void) {
  establish();
  close_flow();
  forwards_listener(FIN | ACK);
  check_linger(NAT_LINGER_MS);
}

static void test_linger_after_reset_by_listener(void) {
  establish();
  forwards_listener(RST);
  no_event();
  CHECK_EQUAL(counters()->flows_live, 0);
  close_flow();
  check_linger(NAT_RESET_LINGER_MS);
}

static void test_linger_after_reset_by_application(void) {
  establish();
  forwards_app(RST, ISS + 1);
  bench_event(NAT_EVENT_GONE);
  check_linger(NAT_RESET_LINGER_MS);
  no_event();
}

static void test_no_event_after_close(void) {
  establish();
  close_flow();
  forwards_app(RST, ISS + 1);
  no_event();
  check_linger(NAT_RESET_LINGER_MS);
}

/* -- Giving up ------------------------------------------------------------------------------------------------ */

/* Feeds the SYN after each of these gaps; the flow waits all along, and for `patience` ms more at least. */
static void check_schedule(const unsigned *gaps, size_t count, uint64_t patience, enum nat_event_kind end) {
  for (size_t i = 0; i < count; i++) {
    pass(gaps[i]);
    no_event();
    feed_app(SYN, ISS);
    CHECK_EQUAL(bench.length, 0);
  }
  pass(patience - 1);
  no_event();
  pass(1 + NAT_SWEEP_MS);
  if (end == NAT_EVENT_GONE) bench_event(NAT_EVENT_GONE);
  no_event();
  CHECK_EQUAL(nat_deadline(bench.nat), UINT64_MAX);
  feed_app(SYN, ISS); /* the tuple is free */
  bench_event(NAT_EVENT_SYN);
}

static const unsigned exponential[] = {1000, 2000, 4000, 8000, 16000, 32000};
static const unsigned linear[] = {1000, 1000, 1000, 1000, 1000, 2000, 4000, 8000, 16000, 32000};
static const unsigned rfc2988[] = {3000, 6000, 12000, 24000, 48000};
static const unsigned bounded[] = {1000, 2000, 4000, 8000, 16000, 32000, 64000, 120000, 120000};
static const unsigned duplicated[] = {1000, 2000, 4000, 8000, 0, 16000};

static void start(void) {
  bench_start(true);
  feed_app(SYN, ISS);
  bench_event(NAT_EVENT_SYN);
}

static void check_all_schedules(bool silent) {
  enum nat_event_kind end = silent ? NAT_EVENT_SYN : NAT_EVENT_GONE;
  static const struct {
    const unsigned *gaps;
    size_t count;
    uint64_t patience;
  } schedules[] = {{NULL, 0, 4000},      {exponential, 1, 4000}, {exponential, 6, 96000}, {linear, 10, 96000},
                   {rfc2988, 5, 144000}, {bounded, 9, 360000},   {duplicated, 6, 48000}};
  for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++) {
    start();
    if (silent) refuse_flow(NAT_REFUSE_SILENT);
    check_schedule(schedules[i].gaps, schedules[i].count, schedules[i].patience, end);
  }
}

static void test_patience_while_pending(void) {
  check_all_schedules(false);
  CHECK_EQUAL(dropped(NAT_DROP_GIVEN_UP), 1);
  CHECK_EQUAL(counters()->flows_gone_total, 1);
}

static void test_patience_while_silent(void) {
  check_all_schedules(true);
  CHECK_EQUAL(dropped(NAT_DROP_SILENT), 7);
  CHECK_EQUAL(counters()->flows_gone_total, 0);
}

static void test_opening_without_an_answer(void) {
  feed_app(SYN, ISS);
  bench_event(NAT_EVENT_SYN);
  pass(3900);
  open_flow();
  pass(NAT_SYN_SILENCE_MS - 1);
  no_event();
  pass(1 + NAT_SWEEP_MS);
  bench_event(NAT_EVENT_GONE);
  CHECK_EQUAL(counters()->flows_live, 0);
  check_linger(NAT_LINGER_MS);
}

static void test_port_reused_while_pending(void) {
  feed_app(SYN, ISS);
  bench_event(NAT_EVENT_SYN);
  uint64_t old = bench.event.flow;
  feed_app(SYN, ISS + 9);
  CHECK_EQUAL(bench.length, 0);
  bench_event(NAT_EVENT_GONE);
  CHECK_EQUAL(bench.event.flow, old);
  bench_event(NAT_EVENT_SYN);
  CHECK(bench.event.flow != old);
  CHECK_EQUAL(dropped(NAT_DROP_GIVEN_UP), 1);
  CHECK_EQUAL(counters()->flows_pending, 1);
  open_flow();
  forwards_listener(SYN | ACK);
}

/* The old lease lingers without the tuple: what its listener still sends must not reach the new connection. */
static void check_tuple_taken_over(enum nat_event_kind first) {
  struct nat_event old = bench.event;
  feed_app(SYN, ISS + 9);
  CHECK_EQUAL(bench.length, 0);
  if (first == NAT_EVENT_GONE) bench_event(NAT_EVENT_GONE);
  bench_event(NAT_EVENT_SYN);
  struct nat_event new = bench.event;
  CHECK(new.flow != old.flow);
  CHECK(new.lease_port != old.lease_port);
  CHECK_EQUAL(counters()->flows_lingering, 1);
  bench.event = old;
  struct segment late = listener_segment(FIN | ACK);
  feed(&late);
  check_reset_of(&late);
  close_flow();
  bench.event = new;
  open_flow();
  forwards_listener(SYN | ACK);
  forwards_app(ACK, ISS + 10);
  pass(NAT_FLUSH_LINGER_MS + NAT_SWEEP_MS);
  CHECK_EQUAL(counters()->flows_lingering, 0);
  forwards_app(ACK, ISS + 10);
}

static void test_port_reused_while_opening(void) {
  feed_app(SYN, ISS);
  bench_event(NAT_EVENT_SYN);
  open_flow();
  check_tuple_taken_over(NAT_EVENT_GONE);
}

static void test_port_reused_while_lingering(void) {
  establish();
  forwards_listener(FIN | ACK);
  forwards_app(FIN | ACK, ISS + 1);
  forwards_app(SYN, ISS); /* a late duplicate of its own */
  check_tuple_taken_over(NAT_EVENT_SYN);
}

static void test_reset_while_pending(void) {
  feed_app(SYN, ISS);
  bench_event(NAT_EVENT_SYN);
  feed_app(RST, ISS + 700); /* meant for the tuple's previous connection */
  feed_app(RST, ISS - 1);
  CHECK_EQUAL(dropped(NAT_DROP_UNANSWERABLE), 2);
  no_event();
  struct segment stray = app_segment(ACK, ISS + 700);
  feed(&stray);
  check_reset_of(&stray);
  for (uint32_t sequence = ISS; sequence <= ISS + 1; sequence++) {
    feed_app(RST | ACK, sequence);
    CHECK_EQUAL(bench.length, 0);
    bench_event(NAT_EVENT_GONE);
    CHECK_EQUAL(counters()->flows_pending, 0);
    open_flow();
    CHECK_EQUAL(bench.length, 0);
    feed_app(SYN, ISS);
    bench_event(NAT_EVENT_SYN);
  }
  CHECK_EQUAL(dropped(NAT_DROP_GIVEN_UP), 2);
}

static void test_reset_while_opening(void) {
  feed_app(SYN, ISS);
  bench_event(NAT_EVENT_SYN);
  open_flow();
  forwards_app(RST, ISS + 700); /* the listener's TCP will ignore it */
  no_event();
  CHECK_EQUAL(counters()->flows_live, 1);
  forwards_app(RST, ISS + 1);
  bench_event(NAT_EVENT_GONE);
  CHECK_EQUAL(counters()->flows_lingering, 1);
  close_flow();
  check_linger(NAT_RESET_LINGER_MS);
  no_event();
}

static void test_reset_by_listener_while_opening(void) {
  feed_app(SYN, ISS);
  bench_event(NAT_EVENT_SYN);
  open_flow();
  forwards_listener(RST | ACK);
  bench_event(NAT_EVENT_GONE);
  check_linger(NAT_RESET_LINGER_MS);
}

/* -- Handles and leases --------------------------------------------------------------------------------------- */

static void test_calls_that_come_too_late(void) {
  establish();
  open_flow();
  CHECK_EQUAL(bench.length, 0);
  refuse_flow(NAT_REFUSE_RESET);
  CHECK_EQUAL(bench.length, 0);
  forwards_app(ACK, ISS + 1);
  close_flow();
  pass(NAT_FLUSH_LINGER_MS + NAT_SWEEP_MS);
  struct nat_event old = bench.event;
  feed_app(SYN, ISS); /* takes the same slot */
  bench_event(NAT_EVENT_SYN);
  struct nat_event new = bench.event;
  CHECK(new.lease_port == old.lease_port && new.lease_peer == old.lease_peer && new.flow != old.flow);
  bench.event = old;
  open_flow();
  CHECK_EQUAL(bench.length, 0);
  refuse_flow(NAT_REFUSE_RESET);
  close_flow();
  CHECK_EQUAL(counters()->flows_pending, 1);
  static const uint64_t strange[] = {0, 1, UINT64_MAX, (uint64_t)1 << 18, (uint64_t)1 << 52, 0x3ffff};
  for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
    bench.event.flow = strange[i];
    open_flow();
    CHECK_EQUAL(bench.length, 0);
    refuse_flow(NAT_REFUSE_HOST);
    close_flow();
  }
  bench.event = new;
  open_flow();
  CHECK(bench.length > 0);
}

static void test_close_while_pending(void) {
  feed_app(SYN, ISS);
  bench_event(NAT_EVENT_SYN);
  close_flow();
  CHECK_EQUAL(dropped(NAT_DROP_GIVEN_UP), 1);
  CHECK_EQUAL(counters()->flows_pending, 0);
  no_event();
  open_flow();
  CHECK_EQUAL(bench.length, 0);
  feed_app(SYN, ISS);
  bench_event(NAT_EVENT_SYN);
}

static void test_lease_reuse(void) {
  /* Three flows linger; the one that has been idle longest is reused first, and none before its time. */
  struct nat_event first[3];
  for (unsigned i = 0; i < 3; i++) {
    struct segment syn = app_segment(SYN, ISS);
    syn.source_port = (uint16_t)(50000 + i);
    feed(&syn);
    bench_event(NAT_EVENT_SYN);
    first[i] = bench.event;
    open_flow();
  }
  static const unsigned order[] = {1, 2, 0};
  for (unsigned i = 0; i < 3; i++) {
    bench.event = first[order[i]];
    close_flow();
    pass(1000);
  }
  struct segment syn = app_segment(SYN, ISS);
  syn.source_port = 51000;
  feed(&syn);
  bench_event(NAT_EVENT_SYN);
  uint16_t fourth = bench.event.lease_port;
  for (unsigned i = 0; i < 3; i++) CHECK(fourth != first[i].lease_port);
  close_flow(); /* it was never released: the next may have its lease at once */
  CHECK_EQUAL(counters()->flows_lingering, 3);
  pass(NAT_FLUSH_LINGER_MS);
  const uint16_t wanted[] = {fourth, first[1].lease_port, first[2].lease_port, first[0].lease_port};
  for (unsigned i = 0; i < 4; i++) {
    syn.source_port++;
    feed(&syn);
    bench_event(NAT_EVENT_SYN);
    CHECK_EQUAL(bench.event.lease_port, wanted[i]);
  }
}

static void test_clock_that_goes_back(void) {
  feed_app(SYN, ISS);
  bench_event(NAT_EVENT_SYN);
  bench.now -= 5000;
  feed_app(SYN, ISS);
  open_flow();
  CHECK(bench.length > 0);
  bench.now += 5000 + NAT_SYN_SILENCE_MS - 1;
  due();
  no_event();
  pass(1 + NAT_SWEEP_MS);
  bench_event(NAT_EVENT_GONE);
}

/* However many flows expire, the engine's thread is woken at most once in NAT_SWEEP_MS for them. */
static void test_sweeps_are_rare(void) {
  for (unsigned i = 0; i < 50; i++) {
    struct segment syn = app_segment(SYN, ISS);
    syn.source_port = (uint16_t)(50000 + i);
    feed(&syn);
    bench_event(NAT_EVENT_SYN);
    open_flow();
    close_flow();
    bench.now += 100;
  }
  unsigned sweeps = 0;
  for (uint64_t next; (next = nat_deadline(bench.nat)) != UINT64_MAX; sweeps++) {
    bench.now = next;
    due();
  }
  CHECK(sweeps >= 5 && sweeps <= 8); /* 50 otherwise */
  CHECK_EQUAL(counters()->flows_lingering, 0);
}

int main(void) {
  static const struct named_test tests[] = {
      {"a flow's whole life", test_whole_life},
      {"a SYN that comes again", test_retransmitted_syn},
      {"half-closed for hours", test_half_closed_for_hours},
      {"idle for a day", test_idle_for_a_day},
      {"linger after both FINs", test_linger_after_fins},
      {"linger after close, while the kernel still sends", test_linger_after_close},
      {"linger after close, then the listener's FIN", test_linger_after_listeners_fin_and_close},
      {"linger after the listener's RST", test_linger_after_reset_by_listener},
      {"linger after the application's RST", test_linger_after_reset_by_application},
      {"no event after close", test_no_event_after_close},
      {"a living connect is never given up, a dead one is: pending", test_patience_while_pending},
      {"the same: refused in silence", test_patience_while_silent},
      {"the listener never answers", test_opening_without_an_answer},
      {"port reused while pending", test_port_reused_while_pending},
      {"port reused while opening", test_port_reused_while_opening},
      {"port reused while lingering", test_port_reused_while_lingering},
      {"RST while pending", test_reset_while_pending},
      {"RST while opening", test_reset_while_opening},
      {"RST of the listener while opening", test_reset_by_listener_while_opening},
      {"calls that come too late", test_calls_that_come_too_late},
      {"close while pending", test_close_while_pending},
      {"the lease that is idle longest is reused first", test_lease_reuse},
      {"a clock that goes back", test_clock_that_goes_back},
      {"sweeps are rare", test_sweeps_are_rare},
  };
  return bench_run(tests, sizeof tests / sizeof *tests);
}
