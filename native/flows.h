/*
 * flows.h - the flow table: slots and their leases, the index by 4-tuple, timed lists, and the store of held SYNs.
 *
 * A slot is a lease: slot number = peer index * NAT_PORTS_PER_PEER + lease port - NAT_FIRST_PORT, so the way from a
 * listener's packet to its flow is arithmetic. The way from an application's packet is a hash table with a random seed
 * (SipHash-1-3; chains are linked by slot number). All arrays are reserved at the start and touched only as far as
 * flows have been needed: a slot that was used before is preferred to a new one, the one that is idle longest first.
 *
 * A timed list holds flows of one constant time-out in the order of their deadlines (appending is enough), except
 * LIST_WAITING, whose deadlines differ. A flow is on one list at most. Nothing here knows TCP, packets or the clock.
 */
#ifndef TUNNEL_FLOWS_H
#define TUNNEL_FLOWS_H

#include "nat.h"
#include "packet.h"

#define FLOW_SLOT_BITS 18u
#ifndef FLOW_BUCKETS
#define FLOW_BUCKETS (1u << FLOW_SLOT_BITS) /* at least one for each flow, so chains are short */
#endif
#define FLOW_NONE UINT32_MAX
#define HELD_NONE UINT16_MAX
_Static_assert(NAT_MAX_FLOWS <= 1u << FLOW_SLOT_BITS, "a flow handle keeps its slot in the low bits");
_Static_assert(NAT_MAX_PENDING < HELD_NONE, "held SYNs are numbered with 16 bits");

enum flow_list {
  LIST_NONE,      /* established flows: nothing to wait for */
  LIST_FREE,      /* slots that were used before; the head is taken first */
  LIST_WAITING,   /* flows whose application may stop asking; any order */
  LIST_ANSWERING, /* refused, the ICMP answer is still to come */
  LIST_REFUSED,   /* NAT_REFUSED_MS */
  LIST_RESET,     /* NAT_RESET_LINGER_MS */
  LIST_LINGERING, /* NAT_LINGER_MS */
  LIST_FLUSHING,  /* NAT_FLUSH_LINGER_MS */
  LISTS
};

struct flow {
  struct packet_tuple tuple;     /* as the application sees it */
  uint8_t state;                 /* enum flow_state of nat.c; 0 is a free slot */
  uint8_t marks;                 /* enum flow_mark of nat.c */
  uint8_t list;
  uint8_t refusal;               /* enum nat_refusal */
  bool indexed;                  /* found by its tuple; not when a newer flow has taken the tuple */
  uint16_t held;                 /* its SYN in the store, or HELD_NONE */
  uint32_t generation;
  uint32_t chain;                /* next slot with the same hash */
  uint32_t previous, next;       /* on its list */
  uint32_t sequence;             /* initial sequence number of the application */
  uint32_t syn_gap_ms;           /* the longest between two of its SYNs */
  uint64_t last_syn_ms, deadline_ms;
};

struct flow_queue {
  uint32_t head, tail;
};

struct held_syn {
  uint16_t length; /* of the frame */
  uint8_t frame[NAT_VNET_HDR_LEN + NAT_SYN_MAX];
};

struct flow_table {
  struct flow *slots;
  uint32_t *buckets;             /* slot number + 1, so that fresh memory is an empty table */
  struct held_syn *held;
  uint16_t *held_free;           /* a stack of used places */
  uint64_t seed[2];
  uint32_t slots_used;           /* slots below have been used at least once */
  uint16_t held_used, held_free_length;
  struct flow_queue lists[LISTS];
};

/* false when memory can't be had; release() is right in either case. */
bool flow_table_init(struct flow_table *table, const uint64_t seed[2]);
void flow_table_release(struct flow_table *table);

/* NULL when there is none. `peer` is below NAT_PEERS; ports and handles may be any. */
struct flow *flow_by_tuple(const struct flow_table *table, const struct packet_tuple *tuple);
struct flow *flow_by_lease(const struct flow_table *table, uint32_t peer, uint16_t port);
struct flow *flow_by_handle(const struct flow_table *table, uint64_t handle);

uint64_t flow_handle(const struct flow_table *table, const struct flow *flow);
uint32_t flow_lease_peer(const struct flow_table *table, const struct flow *flow);
uint16_t flow_lease_port(const struct flow_table *table, const struct flow *flow);

/* A flow of a new generation, found by `tuple`, on no list and with all else zero; NULL when all leases are taken. */
struct flow *flow_create(struct flow_table *table, const struct packet_tuple *tuple);
/* Takes it out of the index by tuple; its lease stays. */
void flow_detach(struct flow_table *table, struct flow *flow);
/* Ends it, once its state is 0: out of the index, its list and the store; the slot waits for reuse. */
void flow_destroy(struct flow_table *table, struct flow *flow);

/* Moves a flow from the list it is on to the end of another; LIST_NONE takes it off. */
void flow_move(struct flow_table *table, struct flow *flow, enum flow_list list);
struct flow *flow_first(const struct flow_table *table, enum flow_list list);
struct flow *flow_after(const struct flow_table *table, const struct flow *flow);

/* Keeps a frame, at most NAT_VNET_HDR_LEN + NAT_SYN_MAX long, for a flow that has none. The store must not be full. */
bool flow_store_is_full(const struct flow_table *table);
void flow_hold(struct flow_table *table, struct flow *flow, const uint8_t *frame, size_t length);
struct held_syn *flow_held(const struct flow_table *table, const struct flow *flow);
void flow_release_held(struct flow_table *table, struct flow *flow);

#endif
