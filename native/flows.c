/* flows.c - the flow table; see flows.h. */
#include "flows.h"

#include <stdlib.h>

#define SLOT_MASK ((1u << FLOW_SLOT_BITS) - 1u)

bool flow_table_init(struct flow_table *table, const uint64_t seed[2]) {
  *table = (struct flow_table){.seed = {seed[0], seed[1]}};
  for (unsigned list = 0; list < LISTS; list++) table->lists[list] = (struct flow_queue){FLOW_NONE, FLOW_NONE};
  /* Large zeroed allocations are fresh mappings: pages come into being when they are touched. */
  table->slots = calloc(NAT_MAX_FLOWS, sizeof *table->slots);
  table->buckets = calloc(FLOW_BUCKETS, sizeof *table->buckets);
  table->held = calloc(NAT_MAX_PENDING, sizeof *table->held);
  table->held_free = calloc(NAT_MAX_PENDING, sizeof *table->held_free);
  return table->slots != NULL && table->buckets != NULL && table->held != NULL && table->held_free != NULL;
}

void flow_table_release(struct flow_table *table) {
  free(table->slots);
  free(table->buckets);
  free(table->held);
  free(table->held_free);
}

/* -- Numbers -------------------------------------------------------------------------------------------------- */

static uint32_t slot_of(const struct flow_table *table, const struct flow *flow) {
  return (uint32_t)(flow - table->slots);
}

static struct flow *at(const struct flow_table *table, uint32_t slot) {
  return slot == FLOW_NONE ? NULL : &table->slots[slot];
}

uint64_t flow_handle(const struct flow_table *table, const struct flow *flow) {
  return (uint64_t)flow->generation << FLOW_SLOT_BITS | slot_of(table, flow);
}

uint32_t flow_lease_peer(const struct flow_table *table, const struct flow *flow) {
  return slot_of(table, flow) / NAT_PORTS_PER_PEER;
}

uint16_t flow_lease_port(const struct flow_table *table, const struct flow *flow) {
  return (uint16_t)(NAT_FIRST_PORT + slot_of(table, flow) % NAT_PORTS_PER_PEER);
}

static struct flow *live(const struct flow_table *table, uint32_t slot) {
  return slot < table->slots_used && table->slots[slot].state != 0 ? &table->slots[slot] : NULL;
}

struct flow *flow_by_lease(const struct flow_table *table, uint32_t peer, uint16_t port) {
  uint32_t index = port - NAT_FIRST_PORT; /* wraps for ports below */
  return index < NAT_PORTS_PER_PEER ? live(table, peer * NAT_PORTS_PER_PEER + index) : NULL;
}

struct flow *flow_by_handle(const struct flow_table *table, uint64_t handle) {
  struct flow *flow = live(table, (uint32_t)(handle & SLOT_MASK));
  return flow != NULL && flow_handle(table, flow) == handle ? flow : NULL;
}

/* -- The index by tuple --------------------------------------------------------------------------------------- */

static uint64_t rotate(uint64_t word, unsigned bits) { return word << bits | word >> (64 - bits); }

static void sip_round(uint64_t v[4]) {
  v[0] += v[1];
  v[2] += v[3];
  v[1] = rotate(v[1], 13) ^ v[0];
  v[3] = rotate(v[3], 16) ^ v[2];
  v[0] = rotate(v[0], 32);
  v[2] += v[1];
  v[0] += v[3];
  v[1] = rotate(v[1], 17) ^ v[2];
  v[3] = rotate(v[3], 21) ^ v[0];
  v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 (Aumasson and Bernstein) of the tuple as five words; the length is constant, so it isn't mixed in. */
static uint32_t *bucket_of(const struct flow_table *table, const struct packet_tuple *tuple) {
  uint64_t words[5];
  memcpy(words, tuple->source, 16);
  memcpy(words + 2, tuple->destination, 16);
  words[4] = (uint64_t)tuple->family << 32 | (uint64_t)tuple->source_port << 16 | tuple->destination_port;
  uint64_t v[4] = {table->seed[0] ^ 0x736f6d6570736575u, table->seed[1] ^ 0x646f72616e646f6du,
                   table->seed[0] ^ 0x6c7967656e657261u, table->seed[1] ^ 0x7465646279746573u};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    v[3] ^= words[i];
    sip_round(v);
    v[0] ^= words[i];
  }
  v[2] ^= 0xff;
  for (int i = 0; i < 3; i++) sip_round(v);
  return &table->buckets[(v[0] ^ v[1] ^ v[2] ^ v[3]) % FLOW_BUCKETS];
}

static bool same_tuple(const struct packet_tuple *a, const struct packet_tuple *b) {
  return a->source_port == b->source_port && a->destination_port == b->destination_port && a->family == b->family &&
         memcmp(a->source, b->source, 16) == 0 && memcmp(a->destination, b->destination, 16) == 0;
}

struct flow *flow_by_tuple(const struct flow_table *table, const struct packet_tuple *tuple) {
  uint32_t link = *bucket_of(table, tuple);
  while (link != 0 && !same_tuple(&table->slots[link - 1].tuple, tuple)) link = table->slots[link - 1].chain;
  return link == 0 ? NULL : &table->slots[link - 1];
}

void flow_detach(struct flow_table *table, struct flow *flow) {
  if (!flow->indexed) return;
  uint32_t *link = bucket_of(table, &flow->tuple);
  while (*link != slot_of(table, flow) + 1) link = &table->slots[*link - 1].chain;
  *link = flow->chain;
  flow->indexed = false;
}

/* -- Life ----------------------------------------------------------------------------------------------------- */

struct flow *flow_create(struct flow_table *table, const struct packet_tuple *tuple) {
  struct flow *flow = flow_first(table, LIST_FREE);
  if (flow != NULL) {
    flow_move(table, flow, LIST_NONE);
  } else if (table->slots_used < NAT_MAX_FLOWS) {
    flow = &table->slots[table->slots_used++];
  } else {
    return NULL;
  }
  /* 2^32 generations of one slot, each at least a packet, are further apart than any program keeps a handle. */
  uint32_t generation = flow->generation + 1;
  *flow = (struct flow){.tuple = *tuple,
                        .generation = generation == 0 ? 1 : generation,
                        .held = HELD_NONE,
                        .previous = FLOW_NONE,
                        .next = FLOW_NONE,
                        .indexed = true};
  uint32_t *bucket = bucket_of(table, tuple);
  flow->chain = *bucket;
  *bucket = slot_of(table, flow) + 1;
  return flow;
}

void flow_destroy(struct flow_table *table, struct flow *flow) {
  flow_detach(table, flow);
  flow_release_held(table, flow);
  flow_move(table, flow, LIST_FREE);
}

/* -- Lists ---------------------------------------------------------------------------------------------------- */

void flow_move(struct flow_table *table, struct flow *flow, enum flow_list list) {
  uint32_t slot = slot_of(table, flow);
  if (flow->list != LIST_NONE) {
    struct flow_queue *queue = &table->lists[flow->list];
    struct flow *previous = at(table, flow->previous), *next = at(table, flow->next);
    if (previous != NULL) previous->next = flow->next;
    else queue->head = flow->next;
    if (next != NULL) next->previous = flow->previous;
    else queue->tail = flow->previous;
    flow->previous = flow->next = FLOW_NONE;
  }
  flow->list = (uint8_t)list;
  if (list == LIST_NONE) return;
  struct flow_queue *queue = &table->lists[list];
  flow->previous = queue->tail;
  if (queue->tail == FLOW_NONE) queue->head = slot;
  else table->slots[queue->tail].next = slot;
  queue->tail = slot;
}

struct flow *flow_first(const struct flow_table *table, enum flow_list list) {
  return at(table, table->lists[list].head);
}

struct flow *flow_after(const struct flow_table *table, const struct flow *flow) { return at(table, flow->next); }

/* -- Held SYNs ------------------------------------------------------------------------------------------------ */

bool flow_store_is_full(const struct flow_table *table) {
  return table->held_free_length == 0 && table->held_used == NAT_MAX_PENDING;
}

void flow_hold(struct flow_table *table, struct flow *flow, const uint8_t *frame, size_t length) {
  flow->held = table->held_free_length > 0 ? table->held_free[--table->held_free_length] : table->held_used++;
  struct held_syn *held = &table->held[flow->held];
  held->length = (uint16_t)length;
  memcpy(held->frame, frame, length);
}

struct held_syn *flow_held(const struct flow_table *table, const struct flow *flow) { return &table->held[flow->held]; }

void flow_release_held(struct flow_table *table, struct flow *flow) {
  if (flow->held == HELD_NONE) return;
  table->held_free[table->held_free_length++] = flow->held;
  flow->held = HELD_NONE;
}
