/*
 * model.h - a slow model of what nat.h promises: every flow that ever was, in one array that is searched, and what must
 * come out of the engine. See model_test.c.
 */
#ifndef TUNNEL_TEST_MODEL_H
#define TUNNEL_TEST_MODEL_H

#include "frames.h"
#include "nat.h"

#define LISTEN_PORT 5555
#define STEPS 4000u

enum state { DEAD, PENDING, ANSWERING, REFUSED, SILENT, OPENING, ESTABLISHED, LINGERING };

struct flow {
  struct segment syn;                  /* the first, as the application sent it */
  unsigned tuple;
  enum state state;
  bool attached, known, fin_application, fin_listener, reset, closed;
  enum nat_refusal refusal;
  uint32_t lease;                      /* peer * 65536 + port; these and `handle` when `known` */
  uint64_t handle;
  uint64_t created, ended, deadline, last_syn, gap;
  uint64_t asked; /* the step of its last SYN */
};

struct expected_event {
  enum nat_event_kind kind;
  struct flow *flow;
};

struct model {
  struct flow flows[STEPS];
  unsigned flows_length;
  struct expected_event events[NAT_MAX_EVENTS];
  unsigned events_length;
  struct flow *answering[NAT_MAX_PENDING]; /* in the order in which they were refused */
  unsigned answering_length;
  struct nat_counters wanted; /* what the engine's counters must be */
  uint64_t now, seed;
  uint8_t out[SEGMENT_CAPACITY]; /* what the engine's last call wrote */
};

extern struct model model;

/* A new engine and an empty model. */
struct nat *model_start(uint64_t seed);

/* A random number below `limit`. */
uint32_t below(uint32_t limit);

/* Random segments: of an application, and of the listener to a lease (peer * 65536 + port). */
struct segment from_application(unsigned tuple, uint8_t flags, uint32_t sequence);
struct segment from_listener(uint8_t family, uint32_t lease, uint8_t flags);
/* The payload and flags of one, with the addresses and ports of the other, turned round. */
struct segment swapped(const struct segment *like, const struct segment *addresses);

/* What the engine wrote, `length` octets, must be this; it is counted. */
void expect_segment(size_t length, const struct segment *s); /* not counted */
void expect_to_listener(size_t length, const struct flow *flow, const struct segment *s);
void expect_reset(size_t length, const struct segment *s);
void expect_refusal(size_t length, const struct segment *syn, enum nat_refusal refusal);
void expect_drop(size_t length, enum nat_drop reason);

unsigned count(enum state state);
struct flow *attached_to(unsigned tuple);
struct flow *leased(uint8_t family, uint32_t lease);
bool is_timed(const struct flow *flow);

/* What happens to a flow. */
void die(struct flow *flow, uint64_t when);
void asks(struct flow *flow);
void lingers(struct flow *flow);
void gives_up(struct flow *flow, uint64_t when);
void segment_passes(struct flow *flow, const struct segment *s, bool application);

/* A SYN for a tuple that has no flow, or the same SYN again: what the engine wrote must be right. */
void first_syn(unsigned tuple, const struct segment *s, size_t length);
void same_syn(struct flow *flow, const struct segment *s, size_t length);

#endif
