/* model.c - a slow model of what nat.h promises; see model.h. */
#include "model.h"

#include <string.h>

struct model model;

static const uint8_t LISTEN4[16] = {198, 18, 3, 1}, PEER4[16] = {198, 18, 3, 254};
static const uint8_t LISTEN6[16] = {0x20, 1, 0, 2, [15] = 1}, PEER6[16] = {0x20, 1, 0, 2, [15] = 2};

uint32_t below(uint32_t limit) { return random_below(&model.seed, limit); }

struct nat *model_start(uint64_t seed) {
  struct nat_config config = {.hash_seed = {seed, 3}, .listen_port4 = LISTEN_PORT, .listen_port6 = LISTEN_PORT};
  memcpy(config.listen4, LISTEN4, 4);
  memcpy(config.peer4, PEER4, 4);
  memcpy(config.listen6, LISTEN6, 16);
  memcpy(config.peer6, PEER6, 16);
  memset(&model, 0, sizeof model);
  model.seed = seed;
  model.now = 1000000;
  struct nat *nat = nat_new(&config);
  CHECK(nat != NULL);
  return nat;
}

/* -- Frames --------------------------------------------------------------------------------------------------- */

static void randomize(struct segment *s) {
  s->partial = below(2) == 0;
  s->gso_type = below(4) == 0 ? (s->family == 4 ? 1 : 4) : 0;
  s->gso_size = s->gso_type != 0 ? 1400 : 0;
  s->hdr_len = (uint16_t)random_next(&model.seed);
  s->pattern = (uint8_t)random_next(&model.seed);
  s->tcp_options = (uint8_t)(4 * below(6));
  s->ip_options = s->family == 4 && below(8) == 0 ? 8 : 0;
  if ((s->flags & SYN) == 0) s->payload = (uint16_t)below(below(40) == 0 ? 65000 : 100);
}

struct segment from_application(unsigned tuple, uint8_t flags, uint32_t sequence) {
  struct segment s = {.family = tuple % 2 == 0 ? 4 : 6, .flags = flags, .sequence = sequence,
                      .acknowledgement = (uint32_t)random_next(&model.seed)};
  static const uint8_t a4[16] = {192, 168, 7, 2}, d4[16] = {10, 1, 2, 3};
  static const uint8_t a6[16] = {0x20, 1, 0xd, 0xb8}, d6[16] = {0xfd, 0, 0, 9};
  memcpy(s.source, s.family == 4 ? a4 : a6, 16);
  memcpy(s.destination, s.family == 4 ? d4 : d6, 16);
  /* Tuples that differ in one place only. */
  unsigned which = tuple / 2, last = s.family == 4 ? 3 : 15;
  s.source_port = (uint16_t)(40000 + which % 2 + which / 16 * 2);
  s.source[last] = (uint8_t)(1 + which / 2 % 2);
  s.destination[last] = (uint8_t)(1 + which / 4 % 2);
  s.destination_port = (uint16_t)(443 + which / 8 % 2);
  randomize(&s);
  return s;
}

struct segment from_listener(uint8_t family, uint32_t lease, uint8_t flags) {
  struct segment s = {.family = family, .flags = flags, .sequence = (uint32_t)random_next(&model.seed),
                      .acknowledgement = (uint32_t)random_next(&model.seed), .source_port = LISTEN_PORT,
                      .destination_port = (uint16_t)lease};
  memcpy(s.source, family == 4 ? LISTEN4 : LISTEN6, 16);
  memcpy(s.destination, family == 4 ? PEER4 : PEER6, 16);
  s.destination[family == 4 ? 3 : 15] = (uint8_t)(s.destination[family == 4 ? 3 : 15] + (lease >> 16));
  randomize(&s);
  return s;
}

struct segment swapped(const struct segment *like, const struct segment *addresses) {
  struct segment s = *like;
  memcpy(s.source, addresses->destination, 16);
  memcpy(s.destination, addresses->source, 16);
  s.source_port = addresses->destination_port;
  s.destination_port = addresses->source_port;
  return s;
}

void expect_segment(size_t length, const struct segment *s) {
  struct segment seen = segment_read(model.out, length);
  CHECK(segment_equal(&seen, s));
}

void expect_to_listener(size_t length, const struct flow *flow, const struct segment *s) {
  struct segment listener = from_listener(s->family, flow->lease, 0), mapped = swapped(s, &listener);
  if (flow->known) expect_segment(length, &mapped);
  model.wanted.frames_forwarded++;
  model.wanted.bytes_to_listener += length - NAT_VNET_HDR_LEN;
}

void expect_reset(size_t length, const struct segment *s) {
  if ((s->flags & RST) != 0) {
    CHECK_EQUAL(length, 0);
    model.wanted.dropped[NAT_DROP_UNANSWERABLE]++;
    return;
  }
  bool ack = (s->flags & ACK) != 0;
  uint32_t next = s->sequence + s->payload + ((s->flags & SYN) != 0) + ((s->flags & FIN) != 0);
  struct segment like = {.family = s->family, .flags = ack ? RST : RST | ACK, .sequence = ack ? s->acknowledgement : 0,
                         .acknowledgement = ack ? 0 : next};
  struct segment reset = swapped(&like, s);
  expect_segment(length, &reset);
  model.wanted.frames_answered++;
  model.wanted.answered_reset++;
}

void expect_refusal(size_t length, const struct segment *syn, enum nat_refusal refusal) {
  if (refusal == NAT_REFUSE_RESET) {
    expect_reset(length, syn);
    return;
  }
  static const uint8_t codes4[] = {255, 1, 0, 13}, codes6[] = {255, 3, 0, 1};
  static uint8_t frame[SEGMENT_CAPACITY];
  struct icmp icmp = icmp_read(model.out, length);
  size_t quoted = segment_write(syn, frame) - NAT_VNET_HDR_LEN;
  CHECK_EQUAL(icmp.family, syn->family);
  CHECK_EQUAL(icmp.code, syn->family == 4 ? codes4[refusal] : codes6[refusal]);
  CHECK(memcmp(icmp.source, syn->family == 4 ? PEER4 : PEER6, 16) == 0);
  CHECK(memcmp(icmp.destination, syn->source, 16) == 0);
  CHECK_EQUAL(icmp.quoted_length, quoted);
  CHECK(memcmp(icmp.quoted, frame + NAT_VNET_HDR_LEN, quoted) == 0);
  model.wanted.frames_answered++;
  if (refusal == NAT_REFUSE_PROHIBITED) model.wanted.answered_prohibited++;
  else model.wanted.answered_unreachable++;
}

void expect_drop(size_t length, enum nat_drop reason) {
  CHECK_EQUAL(length, 0);
  model.wanted.dropped[reason]++;
}

/* -- The model ------------------------------------------------------------------------------------------------ */

unsigned count(enum state state) {
  unsigned n = 0;
  for (unsigned i = 0; i < model.flows_length; i++) n += model.flows[i].state == state;
  return n;
}

struct flow *attached_to(unsigned tuple) {
  for (unsigned i = model.flows_length; i-- > 0;) {
    struct flow *f = &model.flows[i];
    if (f->tuple == tuple && f->state != DEAD && f->attached) return f;
  }
  return NULL;
}

struct flow *leased(uint8_t family, uint32_t lease) {
  for (unsigned i = model.flows_length; i-- > 0;) {
    struct flow *f = &model.flows[i];
    bool passes = f->state == OPENING || f->state == ESTABLISHED || f->state == LINGERING;
    if (passes && f->attached && f->known && f->lease == lease && f->syn.family == family) return f;
  }
  return NULL;
}

void die(struct flow *flow, uint64_t when) {
  flow->state = DEAD;
  flow->ended = when;
}

static void happens(enum nat_event_kind kind, struct flow *flow) {
  CHECK(model.events_length < NAT_MAX_EVENTS);
  model.events[model.events_length++] = (struct expected_event){kind, flow};
  if (kind == NAT_EVENT_GONE) model.wanted.flows_gone_total++;
}

void asks(struct flow *flow) {
  if (model.now - flow->last_syn > flow->gap) flow->gap = model.now - flow->last_syn;
  flow->last_syn = model.now;
  flow->asked = model.wanted.frames_in;
  flow->deadline = model.now + (3 * flow->gap > 4000 ? 3 * flow->gap : 4000);
}

void lingers(struct flow *flow) {
  bool finished = flow->fin_application && flow->fin_listener;
  flow->state = LINGERING;
  flow->deadline = model.now + (flow->reset ? 2000 : flow->closed && !flow->fin_listener && !finished ? 150000 : 65000);
}

void gives_up(struct flow *flow, uint64_t when) {
  if (flow->state == ANSWERING) {
    for (unsigned i = 0, n = 0; i < model.answering_length; i++) {
      if (model.answering[i] != flow) model.answering[n++] = model.answering[i];
    }
    model.answering_length--;
  }
  if (flow->state == PENDING || flow->state == ANSWERING) {
    model.wanted.frames_held--;
    model.wanted.dropped[NAT_DROP_GIVEN_UP]++;
  }
  if (flow->state == PENDING || flow->state == OPENING) happens(NAT_EVENT_GONE, flow);
  if (flow->state == OPENING) lingers(flow);
  else die(flow, when);
}

void segment_passes(struct flow *flow, const struct segment *s, bool application) {
  bool was_finished = flow->fin_application && flow->fin_listener;
  if ((s->flags & (RST | FIN)) == FIN) *(application ? &flow->fin_application : &flow->fin_listener) = true;
  if ((s->flags & RST) != 0 && !was_finished) {
    flow->reset = true;
    bool room = model.events_length + count(PENDING) + count(OPENING) < NAT_MAX_EVENTS;
    if (flow->state == OPENING || (flow->state == ESTABLISHED && application && room)) happens(NAT_EVENT_GONE, flow);
  }
  bool ends = flow->reset || (flow->fin_application && flow->fin_listener);
  if (flow->state == LINGERING || ends) lingers(flow);
}

void first_syn(unsigned tuple, const struct segment *s, size_t length) {
  unsigned alive = model.flows_length - count(DEAD);
  if (count(PENDING) + count(ANSWERING) == NAT_MAX_PENDING) {
    expect_drop(length, NAT_DROP_PENDING_LIMIT);
  } else if (model.events_length + count(PENDING) + count(OPENING) + 2 > NAT_MAX_EVENTS) {
    expect_drop(length, NAT_DROP_EVENT_LIMIT);
  } else if (alive == NAT_MAX_FLOWS) {
    expect_drop(length, NAT_DROP_FLOW_LIMIT);
  } else {
    CHECK_EQUAL(length, 0);
    struct flow *flow = &model.flows[model.flows_length++];
    *flow = (struct flow){.syn = *s, .tuple = tuple, .state = PENDING, .attached = true};
    flow->created = flow->last_syn = model.now;
    asks(flow);
    model.wanted.frames_held++;
    model.wanted.flows_held_total++;
    happens(NAT_EVENT_SYN, flow);
  }
}

void same_syn(struct flow *flow, const struct segment *s, size_t length) {
  if (flow->state == PENDING || flow->state == SILENT || flow->state == OPENING) asks(flow);
  if (flow->state == LINGERING) lingers(flow);
  if (flow->state == PENDING || flow->state == ANSWERING) expect_drop(length, NAT_DROP_RETRANSMIT);
  else if (flow->state == SILENT) expect_drop(length, NAT_DROP_SILENT);
  else if (flow->state == REFUSED) expect_refusal(length, s, flow->refusal);
  else expect_to_listener(length, flow, s);
}

bool is_timed(const struct flow *flow) {
  return flow->state != DEAD && flow->state != ESTABLISHED && flow->state != ANSWERING;
}
