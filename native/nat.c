/*
 * nat.c - what is done with each packet, and a flow's states; nat.h has the contract.
 *
 *   TUN -> nat_input -> packet_parse -> source is the listener, destination a peer? -> flow by lease -> rewrite -> TUN
 *                                    -> anything else: from an application           -> flow by tuple -> rewrite -> TUN
 *                                                                                    -> no flow: hold, answer or drop
 *
 *   PENDING      SYN held; nat_open(), nat_refuse() or nat_close() decides. Retransmits of the SYN are dropped.
 *   REFUSED      remembered, so that a retransmit of the same SYN gets the same answer; nothing else passes.
 *   OPENING      SYN released; all passes. The application's first ACK makes it
 *   ESTABLISHED  all passes, for hours of silence if need be, also half closed.
 *   LINGERING    FIN seen from both sides, RST seen, or nat_close(): all passes and restarts the linger clock.
 *
 * A SYN with a new initial sequence number means that the application's kernel has reused the 4-tuple. Unless the flow
 * is ESTABLISHED (then TCP itself sorts it out, RFC 9293 3.5.1), a new flow takes the tuple; the lease of the
 * old one lingers on without it, and what its listener still sends is answered with RST.
 *
 * A kernel that closes a socket in SYN-SENT sends nothing, so an application that gave up is known by the end of its
 * SYNs: none for max(NAT_SYN_SILENCE_MS, NAT_SYN_SILENCE_GAPS x the longest gap so far). A living connect() is never
 * given up by this: retransmits come after 1 s (3 s with RFC 2988's timer), each gap is as long as the one before
 * (tcp_syn_linear_timeouts: 1 1 1 1 1 2 4 8 ... s) or double (1 2 4 8 16 32 s), until TCP_RTO_MAX bounds it; 3 > 2, and
 * 4 s > 3 s. The longest gap counts, not the last, so that a duplicated frame doesn't shorten the patience.
 *
 * A RST for a flow that is not established yet ends it only with the initial sequence number or the one after it: a
 * socket in SYN-SENT also resets segments that were still on their way to the tuple's previous connection.
 *
 * ICMP and ICMPv6 answers are not rate-limited (RFC 4443 2.4 (f)): they go no further than the host that asked.
 */
#include "nat.h"

#include <stdlib.h>

#include "flows.h"
#include "lease.h"
#include "packet.h"

enum flow_state { FLOW_FREE, FLOW_PENDING, FLOW_REFUSED, FLOW_OPENING, FLOW_ESTABLISHED, FLOW_LINGERING, FLOW_STATES };

enum flow_mark {
  MARK_FIN_APPLICATION = 1,
  MARK_FIN_LISTENER = 2,
  MARK_FINS = MARK_FIN_APPLICATION | MARK_FIN_LISTENER,
  MARK_RESET = 4,
  MARK_CLOSED = 8, /* nat_close() was called */
};

struct nat {
  struct lease_side ipv4, ipv6;
  struct flow_table flows;
  struct nat_counters counters;
  uint32_t in_state[FLOW_STATES];
  uint64_t now, sweep_at, swept_at;
  uint32_t events_first, events_length;
  struct nat_event events[NAT_MAX_EVENTS];
};

struct nat *nat_new(const struct nat_config *config) {
  struct nat *nat = calloc(1, sizeof *nat);
  if (nat == NULL) return NULL;
  nat->ipv4 = lease_side(4, config->listen4, config->peer4, config->listen_port4);
  nat->ipv6 = lease_side(6, config->listen6, config->peer6, config->listen_port6);
  nat->sweep_at = UINT64_MAX;
  if (flow_table_init(&nat->flows, config->hash_seed)) return nat;
  nat_free(nat);
  return NULL;
}

void nat_free(struct nat *nat) {
  if (nat == NULL) return;
  flow_table_release(&nat->flows);
  free(nat);
}

static const struct lease_side *side_of(const struct nat *nat, uint8_t family) {
  return family == 4 ? &nat->ipv4 : &nat->ipv6;
}

/* Deadlines on a list are in order because time is. */
static void set_clock(struct nat *nat, uint64_t now_ms) {
  if (now_ms > nat->now) nat->now = now_ms;
}

/* -- States, counters, events --------------------------------------------------------------------------------- */

static size_t drop(struct nat *nat, enum nat_drop reason) {
  nat->counters.dropped[reason]++;
  return 0;
}

static void enter(struct nat *nat, struct flow *flow, enum flow_state state) {
  nat->in_state[flow->state]--;
  nat->in_state[state]++;
  flow->state = (uint8_t)state;
  nat->counters.flows_pending = nat->in_state[FLOW_PENDING];
  nat->counters.flows_live = nat->in_state[FLOW_OPENING] + nat->in_state[FLOW_ESTABLISHED];
  nat->counters.flows_lingering = nat->in_state[FLOW_LINGERING];
}

static void destroy(struct nat *nat, struct flow *flow) {
  enter(nat, flow, FLOW_FREE);
  flow_destroy(&nat->flows, flow);
}

/* Takes the SYN out of the store; the caller counts what became of it. */
static void release_held(struct nat *nat, struct flow *flow) {
  flow_release_held(&nat->flows, flow);
  nat->counters.frames_held--;
}

static void drop_held(struct nat *nat, struct flow *flow, enum nat_drop reason) {
  if (flow->held == HELD_NONE) return;
  release_held(nat, flow);
  drop(nat, reason);
}

/* Room that is kept for the NAT_EVENT_GONE of flows for which JavaScript works or waits. */
static uint32_t events_promised(const struct nat *nat) {
  return nat->in_state[FLOW_PENDING] + nat->in_state[FLOW_OPENING];
}

/* There is room when the flow is among those of events_promised(), or the caller has made sure of it. */
static void tell(struct nat *nat, const struct flow *flow, enum nat_event_kind kind) {
  struct nat_event *event = &nat->events[(nat->events_first + nat->events_length++) % NAT_MAX_EVENTS];
  *event = (struct nat_event){.flow = flow_handle(&nat->flows, flow),
                              .kind = (uint8_t)kind,
                              .family = flow->tuple.family,
                              .lease_port = flow_lease_port(&nat->flows, flow),
                              .source_port = flow->tuple.source_port,
                              .destination_port = flow->tuple.destination_port,
                              .lease_peer = (uint8_t)flow_lease_peer(&nat->flows, flow)};
  memcpy(event->source, flow->tuple.source, 16);
  memcpy(event->destination, flow->tuple.destination, 16);
  if (kind == NAT_EVENT_GONE) nat->counters.flows_gone_total++;
}

bool nat_next_event(struct nat *nat, struct nat_event *event) {
  if (nat->events_length == 0) return false;
  *event = nat->events[nat->events_first];
  nat->events_first = (nat->events_first + 1) % NAT_MAX_EVENTS;
  /* Starting over when all are taken keeps the touched part of the ring small. */
  if (--nat->events_length == 0) nat->events_first = 0;
  return true;
}

const struct nat_counters *nat_get_counters(const struct nat *nat) { return &nat->counters; }

/* -- Time ----------------------------------------------------------------------------------------------------- */

static void sweep_no_later_than(struct nat *nat, uint64_t at) {
  if (at < nat->swept_at + NAT_SWEEP_MS) at = nat->swept_at + NAT_SWEEP_MS;
  if (at < nat->sweep_at) nat->sweep_at = at;
}

/* Puts a flow at the end of a list of constant time-out, or of LIST_WAITING. */
static void expire_in(struct nat *nat, struct flow *flow, enum flow_list list, uint64_t milliseconds) {
  flow->deadline_ms = nat->now + milliseconds;
  flow_move(&nat->flows, flow, list);
  sweep_no_later_than(nat, flow->deadline_ms);
}

static void linger(struct nat *nat, struct flow *flow) {
  if (flow->state != FLOW_LINGERING) enter(nat, flow, FLOW_LINGERING);
  if ((flow->marks & MARK_RESET) != 0) {
    expire_in(nat, flow, LIST_RESET, NAT_RESET_LINGER_MS);
  } else if ((flow->marks & (MARK_CLOSED | MARK_FIN_LISTENER)) == MARK_CLOSED) {
    expire_in(nat, flow, LIST_FLUSHING, NAT_FLUSH_LINGER_MS);
  } else {
    expire_in(nat, flow, LIST_LINGERING, NAT_LINGER_MS);
  }
}

/* The application still asks: moves the moment at which it counts as gone. */
static void note_syn(struct nat *nat, struct flow *flow) {
  uint64_t gap = nat->now - flow->last_syn_ms;
  if (gap > flow->syn_gap_ms) flow->syn_gap_ms = gap > UINT32_MAX ? UINT32_MAX : (uint32_t)gap;
  uint64_t patience = (uint64_t)flow->syn_gap_ms * NAT_SYN_SILENCE_GAPS;
  flow->last_syn_ms = nat->now;
  expire_in(nat, flow, LIST_WAITING, patience < NAT_SYN_SILENCE_MS ? NAT_SYN_SILENCE_MS : patience);
}

/* The application no longer wants this flow: PENDING, OPENING, or REFUSED. OPENING lingers, others are destroyed. */
static void give_up(struct nat *nat, struct flow *flow) {
  drop_held(nat, flow, NAT_DROP_GIVEN_UP);
  if (flow->state != FLOW_REFUSED) tell(nat, flow, NAT_EVENT_GONE);
  if (flow->state == FLOW_OPENING) linger(nat, flow);
  else destroy(nat, flow);
}

static void sweep(struct nat *nat) {
  static const enum flow_list timed[] = {LIST_REFUSED, LIST_RESET, LIST_LINGERING, LIST_FLUSHING};
  struct flow *flow, *next;
  nat->swept_at = nat->now;
  nat->sweep_at = UINT64_MAX;
  for (size_t i = 0; i < sizeof timed / sizeof *timed; i++) {
    while ((flow = flow_first(&nat->flows, timed[i])) != NULL && flow->deadline_ms <= nat->now) destroy(nat, flow);
    if (flow != NULL) sweep_no_later_than(nat, flow->deadline_ms);
  }
  for (flow = flow_first(&nat->flows, LIST_WAITING); flow != NULL; flow = next) {
    next = flow_after(&nat->flows, flow);
    if (flow->deadline_ms <= nat->now) give_up(nat, flow);
    else sweep_no_later_than(nat, flow->deadline_ms);
  }
}

uint64_t nat_deadline(const struct nat *nat) {
  const struct flow *answering = flow_first(&nat->flows, LIST_ANSWERING);
  return answering != NULL && answering->deadline_ms < nat->sweep_at ? answering->deadline_ms : nat->sweep_at;
}

/* -- Forwarding ----------------------------------------------------------------------------------------------- */

static size_t forward_to_listener(struct nat *nat, const struct packet *packet, const struct flow *flow) {
  struct packet_tuple to = lease_tuple(side_of(nat, packet->family), flow_lease_peer(&nat->flows, flow),
                                       flow_lease_port(&nat->flows, flow));
  packet_rewrite(packet, &flow->tuple, &to);
  nat->counters.frames_forwarded++;
  nat->counters.bytes_to_listener += packet->length;
  return NAT_VNET_HDR_LEN + packet->length;
}

static size_t forward_to_application(struct nat *nat, const struct packet *packet, const struct packet_tuple *from,
                                     const struct flow *flow) {
  struct packet_tuple to = {.source_port = flow->tuple.destination_port,
                            .destination_port = flow->tuple.source_port,
                            .family = flow->tuple.family};
  memcpy(to.source, flow->tuple.destination, 16);
  memcpy(to.destination, flow->tuple.source, 16);
  packet_rewrite(packet, from, &to);
  nat->counters.frames_forwarded++;
  nat->counters.bytes_to_application += packet->length;
  return NAT_VNET_HDR_LEN + packet->length;
}

/* What a segment's flags mean for a flow in OPENING, ESTABLISHED or LINGERING. */
static void follow(struct nat *nat, struct flow *flow, uint8_t flags, enum flow_mark fin) {
  bool reset = (flags & PACKET_TCP_RST) != 0;
  if (!reset && (flags & PACKET_TCP_FIN) != 0) flow->marks |= (uint8_t)fin;
  bool finished = (flow->marks & MARK_FINS) == MARK_FINS;
  if (reset && !finished) {
    /* After both FINs the closing side may be in TIME_WAIT, which no RST is sure to end. */
    flow->marks |= MARK_RESET;
    bool from_application = fin == MARK_FIN_APPLICATION;
    if (flow->state == FLOW_OPENING || (flow->state == FLOW_ESTABLISHED && from_application &&
                                        nat->events_length + events_promised(nat) < NAT_MAX_EVENTS)) {
      tell(nat, flow, NAT_EVENT_GONE);
    }
  }
  if (flow->state == FLOW_LINGERING || reset || finished) linger(nat, flow);
}

/* -- Answers -------------------------------------------------------------------------------------------------- */

static size_t answer_reset(struct nat *nat, const struct packet *packet, uint8_t *out) {
  nat->counters.frames_answered++;
  nat->counters.answered_reset++;
  return packet_reset(packet, out);
}

static size_t answer_no_connection(struct nat *nat, const struct packet *packet) {
  if ((packet_tcp_flags(packet) & PACKET_TCP_RST) != 0) return drop(nat, NAT_DROP_UNANSWERABLE);
  return answer_reset(nat, packet, packet->frame);
}

/* Except for ports, which are the destination's own, we speak as the first peer: a router on the way. */
static size_t answer_unreachable(struct nat *nat, const struct packet *packet, enum packet_unreachable why,
                                 uint8_t *out) {
  struct packet_tuple tuple;
  packet_get_tuple(packet, &tuple);
  const uint8_t *source = side_of(nat, packet->family)->peer;
  if (why == PACKET_NO_PORT || packet_address_is_special(source, packet->family)) source = tuple.destination;
  nat->counters.frames_answered++;
  if (why == PACKET_NO_PORT) nat->counters.answered_port_unreachable++;
  else if (why == PACKET_PROHIBITED) nat->counters.answered_prohibited++;
  else nat->counters.answered_unreachable++;
  return packet_unreachable(packet, why, source, out);
}

/* Says why a flow was refused (not NAT_REFUSE_SILENT), to the SYN in `packet`. */
static size_t answer_refusal(struct nat *nat, const struct packet *packet, enum nat_refusal refusal, uint8_t *out) {
  switch (refusal) {
    case NAT_REFUSE_HOST:
      return answer_unreachable(nat, packet, PACKET_NO_HOST, out);
    case NAT_REFUSE_NETWORK:
      return answer_unreachable(nat, packet, PACKET_NO_NETWORK, out);
    case NAT_REFUSE_PROHIBITED:
      return answer_unreachable(nat, packet, PACKET_PROHIBITED, out);
    default:
      return answer_reset(nat, packet, out);
  }
}

static size_t answer_held(struct nat *nat, struct flow *flow, uint8_t *out) {
  struct held_syn *held = flow_held(&nat->flows, flow);
  struct packet packet;
  packet_parse(&packet, held->frame, held->length);
  size_t length = answer_refusal(nat, &packet, flow->refusal, out);
  release_held(nat, flow);
  expire_in(nat, flow, LIST_REFUSED, NAT_REFUSED_MS);
  return length;
}

static size_t refuse(struct nat *nat, struct flow *flow, enum nat_refusal refusal, uint8_t *out) {
  enter(nat, flow, FLOW_REFUSED);
  flow->refusal = (uint8_t)refusal;
  nat->counters.flows_refused_total++;
  if (refusal == NAT_REFUSE_SILENT) {
    drop_held(nat, flow, NAT_DROP_SILENT);
    return 0; /* it stays on LIST_WAITING until the application's SYNs stop */
  }
  uint64_t at = flow->last_syn_ms + NAT_ANSWER_DELAY_MS;
  if (refusal == NAT_REFUSE_RESET || at <= nat->now) return answer_held(nat, flow, out);
  flow->deadline_ms = at; /* answers leave in the order of the refusals: it may wait for the one before, milliseconds */
  flow_move(&nat->flows, flow, LIST_ANSWERING);
  return 0;
}

/* -- Frames --------------------------------------------------------------------------------------------------- */

/* Holds the SYN of a new flow. The tuple has no flow. */
static size_t hold(struct nat *nat, const struct packet *packet, const struct packet_tuple *tuple) {
  bool captured = side_of(nat, tuple->family)->listen_port != 0;
  if (packet->length > NAT_SYN_MAX) return drop(nat, NAT_DROP_SYN_TOO_LONG);
  if (flow_store_is_full(&nat->flows)) return drop(nat, NAT_DROP_PENDING_LIMIT);
  uint32_t events = captured ? nat->events_length + events_promised(nat) + 2 : 0; /* SYN, and GONE if need be */
  if (events > NAT_MAX_EVENTS) return drop(nat, NAT_DROP_EVENT_LIMIT);
  struct flow *flow = flow_create(&nat->flows, tuple);
  if (flow == NULL) return drop(nat, NAT_DROP_FLOW_LIMIT);
  flow_hold(&nat->flows, flow, packet->frame, NAT_VNET_HDR_LEN + packet->length);
  nat->counters.frames_held++;
  nat->counters.flows_held_total++;
  flow->sequence = packet_tcp_sequence(packet);
  flow->last_syn_ms = nat->now;
  enter(nat, flow, FLOW_PENDING);
  note_syn(nat, flow);
  if (captured) tell(nat, flow, NAT_EVENT_SYN);
  else refuse(nat, flow, NAT_REFUSE_PROHIBITED, NULL); /* writes nothing: to a new SYN the answer is delayed */
  return 0;
}

static bool has_answerable_ends(const struct packet_tuple *tuple) {
  return !packet_address_is_special(tuple->source, tuple->family) &&
         !packet_address_is_multicast(tuple->source, tuple->family) &&
         !packet_address_is_special(tuple->destination, tuple->family);
}

/* A SYN without anything else that matters: the beginning of a connection. */
static bool is_connecting(uint8_t flags) {
  return (flags & (PACKET_TCP_SYN | PACKET_TCP_ACK | PACKET_TCP_RST | PACKET_TCP_FIN)) == PACKET_TCP_SYN;
}

/* TCP of an application that has no flow. */
static size_t input_unknown(struct nat *nat, const struct packet *packet, const struct packet_tuple *tuple) {
  if (packet_address_is_multicast(tuple->destination, tuple->family)) return drop(nat, NAT_DROP_MULTICAST);
  if (!has_answerable_ends(tuple)) return drop(nat, NAT_DROP_UNANSWERABLE);
  bool has_ports = tuple->source_port != 0 && tuple->destination_port != 0;
  if (is_connecting(packet_tcp_flags(packet)) && has_ports) return hold(nat, packet, tuple);
  return answer_no_connection(nat, packet);
}

/* The same SYN again. */
static size_t input_retransmit(struct nat *nat, const struct packet *packet, struct flow *flow) {
  switch (flow->state) {
    case FLOW_PENDING:
      note_syn(nat, flow);
      return drop(nat, NAT_DROP_RETRANSMIT);
    case FLOW_REFUSED:
      if (flow->held != HELD_NONE) return drop(nat, NAT_DROP_RETRANSMIT); /* its answer is on the way */
      if (flow->refusal != NAT_REFUSE_SILENT) return answer_refusal(nat, packet, flow->refusal, packet->frame);
      note_syn(nat, flow);
      return drop(nat, NAT_DROP_SILENT);
    case FLOW_OPENING:
      note_syn(nat, flow);
      break;
    case FLOW_LINGERING:
      linger(nat, flow);
      break;
    default:
      break;
  }
  return forward_to_listener(nat, packet, flow);
}

static size_t input_application(struct nat *nat, const struct packet *packet, const struct packet_tuple *tuple) {
  struct flow *flow = flow_by_tuple(&nat->flows, tuple);
  if (flow == NULL) return input_unknown(nat, packet, tuple);
  uint8_t flags = packet_tcp_flags(packet);
  uint32_t since_syn = packet_tcp_sequence(packet) - flow->sequence;
  if (is_connecting(flags)) {
    if (since_syn == 0 || flow->state == FLOW_ESTABLISHED) return input_retransmit(nat, packet, flow);
    if (flow->state != FLOW_LINGERING) give_up(nat, flow);
    flow_detach(&nat->flows, flow); /* what still lingers */
    return hold(nat, packet, tuple);
  }
  bool reset = (flags & PACKET_TCP_RST) != 0;
  switch (flow->state) {
    case FLOW_PENDING:
      if (reset && since_syn <= 1) give_up(nat, flow);
      return answer_no_connection(nat, packet);
    case FLOW_REFUSED:
      return answer_no_connection(nat, packet);
    case FLOW_OPENING:
      if (reset && since_syn > 1) return forward_to_listener(nat, packet, flow);
      if (!reset && (flags & PACKET_TCP_ACK) != 0) {
        enter(nat, flow, FLOW_ESTABLISHED);
        flow_move(&nat->flows, flow, LIST_NONE);
      }
      break;
    default:
      break;
  }
  follow(nat, flow, flags, MARK_FIN_APPLICATION);
  return forward_to_listener(nat, packet, flow);
}

static size_t input_listener(struct nat *nat, const struct packet *packet, const struct packet_tuple *tuple,
                             uint32_t peer) {
  struct flow *flow = flow_by_lease(&nat->flows, peer, tuple->destination_port);
  if (flow == NULL || flow->tuple.family != tuple->family || !flow->indexed || flow->state == FLOW_PENDING ||
      flow->state == FLOW_REFUSED) {
    return answer_no_connection(nat, packet);
  }
  follow(nat, flow, packet_tcp_flags(packet), MARK_FIN_LISTENER);
  return forward_to_application(nat, packet, tuple, flow);
}

static size_t input_other(struct nat *nat, const struct packet *packet, const struct packet_tuple *tuple,
                          enum packet_kind kind) {
  if (packet_address_is_multicast(tuple->destination, tuple->family)) return drop(nat, NAT_DROP_MULTICAST);
  if (kind == PACKET_UNANSWERABLE || !has_answerable_ends(tuple)) return drop(nat, NAT_DROP_UNANSWERABLE);
  return answer_unreachable(nat, packet, kind == PACKET_UDP ? PACKET_NO_PORT : PACKET_PROHIBITED, packet->frame);
}

size_t nat_input(struct nat *nat, uint8_t *frame, size_t length, uint64_t now_ms) {
  set_clock(nat, now_ms);
  nat->counters.frames_in++;
  struct packet packet;
  enum packet_kind kind = packet_parse(&packet, frame, length);
  if (kind == PACKET_MALFORMED) return drop(nat, NAT_DROP_MALFORMED);
  if (kind == PACKET_FRAGMENT) return drop(nat, NAT_DROP_FRAGMENT);
  struct packet_tuple tuple;
  packet_get_tuple(&packet, &tuple);
  if (kind != PACKET_TCP) return input_other(nat, &packet, &tuple, kind);
  uint32_t peer = lease_addressed_peer(side_of(nat, tuple.family), &tuple);
  if (peer != NAT_PEERS) return input_listener(nat, &packet, &tuple, peer);
  return input_application(nat, &packet, &tuple);
}

/* -- Decisions ------------------------------------------------------------------------------------------------ */

size_t nat_open(struct nat *nat, uint64_t handle, uint8_t *out, uint64_t now_ms) {
  set_clock(nat, now_ms);
  struct flow *flow = flow_by_handle(&nat->flows, handle);
  if (flow == NULL || flow->state != FLOW_PENDING) return 0;
  const struct held_syn *held = flow_held(&nat->flows, flow);
  struct packet packet;
  memcpy(out, held->frame, held->length);
  packet_parse(&packet, out, held->length);
  release_held(nat, flow);
  enter(nat, flow, FLOW_OPENING);
  nat->counters.flows_opened_total++;
  /* The listener needs no second SYN, but it gets the time for one. */
  if (flow->deadline_ms < nat->now + NAT_SYN_SILENCE_MS) flow->deadline_ms = nat->now + NAT_SYN_SILENCE_MS;
  return forward_to_listener(nat, &packet, flow);
}

size_t nat_refuse(struct nat *nat, uint64_t handle, enum nat_refusal refusal, uint8_t *out, uint64_t now_ms) {
  set_clock(nat, now_ms);
  struct flow *flow = flow_by_handle(&nat->flows, handle);
  return flow == NULL || flow->state != FLOW_PENDING ? 0 : refuse(nat, flow, refusal, out);
}

void nat_close(struct nat *nat, uint64_t handle, uint64_t now_ms) {
  set_clock(nat, now_ms);
  struct flow *flow = flow_by_handle(&nat->flows, handle);
  if (flow == NULL || flow->state == FLOW_REFUSED) return;
  if (flow->state == FLOW_PENDING) {
    drop_held(nat, flow, NAT_DROP_GIVEN_UP);
    destroy(nat, flow);
    return;
  }
  flow->marks |= MARK_CLOSED;
  if (flow->state != FLOW_LINGERING) linger(nat, flow);
}

size_t nat_due(struct nat *nat, uint8_t *out, uint64_t now_ms) {
  set_clock(nat, now_ms);
  if (nat->now >= nat->sweep_at) sweep(nat);
  struct flow *flow = flow_first(&nat->flows, LIST_ANSWERING);
  return flow != NULL && flow->deadline_ms <= nat->now ? answer_held(nat, flow, out) : 0;
}
