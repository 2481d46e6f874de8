/* limit_test.c - the limits of native/nat.c, built small (see the Makefile) so that each can be reached. */
#include <string.h>

#include "bench.h"

static uint16_t next_port;

/* A SYN of another flow. */
static void feed_another(void) {
  struct segment syn = app_segment(SYN, ISS);
  syn.source_port = ++next_port;
  feed(&syn);
  CHECK_EQUAL(bench.length, 0);
}

static void test_pending_limit(void) {
  for (unsigned i = 0; i < NAT_MAX_PENDING; i++) {
    feed_another();
    bench_event(NAT_EVENT_SYN);
  }
  feed_another();
  CHECK_EQUAL(dropped(NAT_DROP_PENDING_LIMIT), 1);
  CHECK_EQUAL(counters()->frames_held, NAT_MAX_PENDING);
  no_event();
  /* A delayed answer still needs its SYN; a flow that is open doesn't. */
  refuse_flow(NAT_REFUSE_HOST);
  feed_another();
  CHECK_EQUAL(dropped(NAT_DROP_PENDING_LIMIT), 2);
  bench.now += NAT_ANSWER_DELAY_MS;
  due();
  CHECK(bench.length > 0);
  for (unsigned i = 0; i < 3 * NAT_MAX_PENDING; i++) {
    feed_another();
    bench_event(NAT_EVENT_SYN);
    struct segment syn = app_segment(SYN, ISS);
    syn.source_port = next_port;
    struct segment wanted = at_listener(&syn);
    if (i % 2 == 0) {
      open_flow();
      struct segment seen = segment_read(bench.out, bench.length);
      CHECK(segment_equal(&seen, &wanted));
    } else {
      refuse_flow(NAT_REFUSE_RESET);
      check_reset_of(&syn);
    }
    pass(NAT_RESET_LINGER_MS);
    while (nat_next_event(bench.nat, &bench.event)) close_flow();
  }
}

static void test_flow_limit(void) {
  struct nat_event last = {0};
  for (unsigned i = 0; i < NAT_MAX_FLOWS; i++) {
    feed_another();
    bench_event(NAT_EVENT_SYN);
    last = bench.event;
    open_flow();
    struct segment ack = app_segment(ACK, ISS + 1);
    ack.source_port = next_port;
    feed(&ack);
    CHECK(bench.length > 0);
  }
  CHECK_EQUAL(counters()->flows_live, NAT_MAX_FLOWS);
  /* All leases are taken, and the ports beside them are nobody's. */
  for (uint8_t peer = 0; peer < NAT_PEERS; peer++) {
    static const uint16_t ports[] = {0, NAT_FIRST_PORT - 1, NAT_FIRST_PORT + NAT_PORTS_PER_PEER, 65535};
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
      bench.event.lease_peer = peer;
      bench.event.lease_port = ports[i];
      struct segment s = listener_segment(ACK);
      feed(&s);
      check_reset_of(&s);
    }
  }
  bench.event = last;
  feed_another();
  CHECK_EQUAL(dropped(NAT_DROP_FLOW_LIMIT), 1);
  no_event();
  close_flow();
  feed_another();
  CHECK_EQUAL(dropped(NAT_DROP_FLOW_LIMIT), 2);
  pass(NAT_FLUSH_LINGER_MS + NAT_SWEEP_MS);
  feed_another();
  bench_event(NAT_EVENT_SYN);
  CHECK_EQUAL(bench.event.lease_port, last.lease_port);
  CHECK_EQUAL(bench.event.lease_peer, last.lease_peer);
  CHECK(bench.event.flow != last.flow);
}

/* The events' queue keeps room for the bad news of every flow that waits. */
static void test_event_limit(void) {
  unsigned flows = 0;
  for (; dropped(NAT_DROP_EVENT_LIMIT) == 0; flows++) {
    CHECK(flows <= NAT_MAX_EVENTS);
    feed_another();
    if (dropped(NAT_DROP_EVENT_LIMIT) > 0) break;
    /* A peek at the newest event: its handle is the next generation-1 slot, as none was reused. */
    bench.event.flow = (uint64_t)1 << 18 | flows;
    open_flow();
    CHECK(bench.length > 0);
  }
  CHECK_EQUAL(flows, NAT_MAX_EVENTS / 2);
  pass(NAT_SYN_SILENCE_MS + NAT_SWEEP_MS);
  CHECK_EQUAL(counters()->flows_gone_total, flows);
  feed_another();
  CHECK_EQUAL(dropped(NAT_DROP_EVENT_LIMIT), 2);
  for (unsigned i = 0; i < flows; i++) bench_event(NAT_EVENT_SYN);
  for (unsigned i = 0; i < flows; i++) bench_event(NAT_EVENT_GONE);
  no_event();
  feed_another();
  bench_event(NAT_EVENT_SYN);
}

/* A reset of an established flow is told only where there is room beyond what is promised to others. */
static void test_event_of_a_reset(void) {
  establish();
  while (dropped(NAT_DROP_PENDING_LIMIT) == 0) feed_another();
  CHECK_EQUAL(2 * counters()->flows_pending, NAT_MAX_EVENTS);
  forwards_app(RST, ISS + 1);
  CHECK_EQUAL(counters()->flows_gone_total, 0);
  pass(NAT_SYN_SILENCE_MS + NAT_SWEEP_MS);
  CHECK_EQUAL(counters()->flows_gone_total, NAT_MAX_PENDING);
  for (unsigned i = 0; i < NAT_MAX_PENDING; i++) bench_event(NAT_EVENT_SYN);
  for (unsigned i = 0; i < NAT_MAX_PENDING; i++) bench_event(NAT_EVENT_GONE);
  no_event();
}

/* The same octets are one address in IPv4 and another in IPv6. */
static void test_families_apart(void) {
  uint8_t family = bench.family;
  for (unsigned i = 0; i < 40; i++) {
    struct segment syn = app_segment(SYN, ISS);
    struct nat_event events[2];
    syn.source_port = ++next_port;
    memset(syn.source + 4, 0, 12);
    memset(syn.destination + 4, 0, 12);
    for (unsigned n = 0; n < 2; n++) {
      syn.family = bench.family = n == 0 ? 4 : 6;
      feed(&syn);
      bench_event(NAT_EVENT_SYN);
      events[n] = bench.event;
    }
    for (unsigned n = 0; n < 2; n++) {
      bench.event = events[n];
      close_flow();
    }
  }
  bench.family = family;
}

static void test_syn_too_long(void) {
  struct segment syn = app_segment(SYN, ISS);
  uint16_t headers = bench.family == 4 ? 40 : 60;
  syn.payload = (uint16_t)(NAT_SYN_MAX + 1 - headers);
  feed(&syn);
  CHECK_EQUAL(dropped(NAT_DROP_SYN_TOO_LONG), 1);
  no_event();
  syn.payload--;
  feed(&syn);
  bench_event(NAT_EVENT_SYN);
  open_flow();
  struct segment seen = segment_read(bench.out, bench.length), wanted = at_listener(&syn);
  CHECK(segment_equal(&seen, &wanted));
}

int main(void) {
  static const struct named_test tests[] = {
      {"held SYNs", test_pending_limit},
      {"flows", test_flow_limit},
      {"events", test_event_limit},
      {"an event for a reset", test_event_of_a_reset},
      {"a SYN that is too long", test_syn_too_long},
      {"the two families are kept apart", test_families_apart},
  };
  return bench_run(tests, sizeof tests / sizeof *tests);
}
