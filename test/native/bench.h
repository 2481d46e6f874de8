/*
 * bench.h - an engine on the bench: one application A:a, one destination D:d, the listener and its peers, a clock that
 * only the test moves. Every call checks that the frame counters add up. A test runs once for each family.
 */
#ifndef TUNNEL_TEST_BENCH_H
#define TUNNEL_TEST_BENCH_H

#include "frames.h"
#include "nat.h"

#define LISTEN_PORT 5555
#define ISS 1000u /* the application's initial sequence number */

struct bench {
  struct nat *nat;
  uint64_t now;
  uint8_t family;
  struct nat_event event;             /* the last that bench_event() took */
  uint8_t out[SEGMENT_CAPACITY];      /* what the last call gave back ... */
  size_t length;                      /* ... and its length */
};

extern struct bench bench;

/* Runs each test for IPv4 and IPv6, each with a new engine. */
int bench_run(const struct named_test *tests, size_t count);
/* Another engine; `captured` false: without listeners and with zero addresses. */
void bench_start(bool captured);

const uint8_t *bench_application(void);
const uint8_t *bench_destination(void);
const uint8_t *bench_listener(void);
const uint8_t *bench_first_peer(void);

/* A segment from the application to its destination. */
struct segment app_segment(uint8_t flags, uint32_t sequence);
/* A segment from the listener to the lease of bench.event. */
struct segment listener_segment(uint8_t flags);
/* The same two as they must come out on the other side. */
struct segment at_listener(const struct segment *from_application);
struct segment at_application(const struct segment *from_listener);

void feed(const struct segment *segment);
void feed_frame(const uint8_t *frame, size_t length);
void feed_app(uint8_t flags, uint32_t sequence);
void feed_listener(uint8_t flags);

/* Feeds and checks that just this frame is forwarded. */
void forwards_app(uint8_t flags, uint32_t sequence);
void forwards_listener(uint8_t flags);
/* What the last call gave is a reset (RFC 9293) of this segment. */
void check_reset_of(const struct segment *segment);
/* What the last call gave is an unreachable with this type and code from this source. */
struct icmp check_unreachable(uint8_t type, uint8_t code, const uint8_t *source);
/* Type and code of the family. */
struct icmp check_refusal(enum nat_refusal refusal);

/* Takes an event, which must be of this kind, and keeps it in bench.event. */
void bench_event(enum nat_event_kind kind);
void no_event(void);

void open_flow(void);                       /* nat_open of bench.event, must give the rewritten SYN */
void refuse_flow(enum nat_refusal refusal); /* nat_refuse of bench.event */
void close_flow(void);
/* Lets time pass, calling nat_due() whenever it is due. Answers count as a failure. */
void pass(uint64_t milliseconds);
/* nat_due() at this moment. */
void due(void);

/* SYN, event, open, SYN|ACK, ACK: an established flow. */
void establish(void);

const struct nat_counters *counters(void);
uint64_t dropped(enum nat_drop reason);

#endif
