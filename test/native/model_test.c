/*
 * model_test.c - random traffic through native/nat.c, built small, beside a slow model of what nat.h promises.
 *
 * Applications on a few tuples, the listener, JavaScript's decisions (also late, double and mistaken ones) and the
 * clock take turns at random. The model (model.h) keeps every flow that ever was in one array, finds things by
 * searching it, and predicts for each step the frame that must come out (field by field, with checksums computed anew),
 * the events, and all counters. It also checks that no two flows ever had one lease at the same time, and no two the
 * same handle.
 *
 * The engine expires flows up to NAT_SWEEP_MS late. So that the model needs to know nothing of that, the clock is
 * never left standing where a flow may or may not have expired.
 */
#include <string.h>

#include "model.h"

#define RUNS 60u

static struct nat *nat;
static unsigned tuples;
static bool calm; /* little goes wrong, so that flows live long enough to see much */

static size_t input(const struct segment *s) {
  static uint8_t frame[SEGMENT_CAPACITY];
  size_t length = segment_write(s, frame), capacity = length < NAT_ANSWER_CAPACITY ? NAT_ANSWER_CAPACITY : length;
  uint8_t *exact = malloc(capacity);
  memcpy(exact, frame, length);
  length = nat_input(nat, exact, length, model.now);
  memcpy(model.out, exact, length);
  free(exact);
  model.wanted.frames_in++;
  return length;
}

static void step_application(void) {
  static const uint8_t kinds[] = {SYN, ACK, ACK, ACK, ACK | FIN, SYN, RST, RST | ACK, RST | FIN, SYN | ACK, 0};
  unsigned tuple = below(tuples);
  struct flow *flow = attached_to(tuple);
  uint8_t flags = kinds[below(calm ? 5 : sizeof kinds)];
  uint32_t sequence = (uint32_t)random_next(&model.seed);
  bool usual = below(calm ? 20 : 3) != 0;
  if (flow != NULL && usual) sequence = flow->syn.sequence + (flags == SYN ? 0 : below(3));
  if (flow == NULL && below(2) == 0) flags = SYN;
  struct segment s = from_application(tuple, flags, sequence);
  size_t length = input(&s);

  if (flow == NULL && flags == SYN) {
    first_syn(tuple, &s, length);
  } else if (flow == NULL) {
    expect_reset(length, &s);
  } else if (flags == SYN && (sequence == flow->syn.sequence || flow->state == ESTABLISHED)) {
    same_syn(flow, &s, length);
  } else if (flags == SYN) {
    if (flow->state != LINGERING) gives_up(flow, model.now);
    flow->attached = false;
    first_syn(tuple, &s, length);
  } else if (flow->state == PENDING || flow->state == ANSWERING || flow->state == REFUSED || flow->state == SILENT) {
    uint32_t since = sequence - flow->syn.sequence;
    if (flow->state == PENDING && (flags & RST) != 0 && since < 2) gives_up(flow, model.now);
    expect_reset(length, &s);
  } else {
    bool wrong_reset = flow->state == OPENING && (flags & RST) != 0 && sequence - flow->syn.sequence > 1;
    if (flow->state == OPENING && (flags & (ACK | RST)) == ACK) flow->state = ESTABLISHED;
    if (!wrong_reset) segment_passes(flow, &s, true);
    expect_to_listener(length, flow, &s);
  }
}

static struct flow *any_flow(void) {
  if (model.flows_length == 0) return NULL;
  /* Mostly recent ones, which are alive. */
  uint32_t recent = model.flows_length < 24 ? model.flows_length : 24;
  uint32_t back = below(below(4) == 0 ? model.flows_length : recent);
  return &model.flows[model.flows_length - 1 - back];
}

static void step_listener(void) {
  static const uint8_t kinds[] = {SYN | ACK, ACK, ACK, ACK, ACK | FIN, ACK | FIN, RST, RST | ACK, RST | FIN};
  struct flow *chosen = any_flow();
  bool known = chosen != NULL && chosen->known;
  uint32_t lease = known ? chosen->lease : below(4) << 16 | below(65536);
  uint8_t family = known && below(10) != 0 ? chosen->syn.family : below(2) == 0 ? 4 : 6;
  struct segment s = from_listener(family, lease, kinds[below(calm ? 5 : sizeof kinds)]);
  size_t length = input(&s);
  struct flow *flow = leased(family, lease);
  if (flow == NULL) {
    expect_reset(length, &s);
    return;
  }
  segment_passes(flow, &s, false);
  struct segment mapped = swapped(&s, &flow->syn);
  expect_segment(length, &mapped);
  model.wanted.frames_forwarded++;
  model.wanted.bytes_to_application += length - NAT_VNET_HDR_LEN;
}

static void learn(struct flow *flow, const struct nat_event *event) {
  flow->known = true;
  flow->handle = event->flow;
  flow->lease = (uint32_t)event->lease_peer << 16 | event->lease_port;
  CHECK(event->flow < (uint64_t)1 << 52);
  CHECK(event->lease_peer < NAT_PEERS && event->lease_port >= NAT_FIRST_PORT);
  for (unsigned i = 0; i < model.flows_length; i++) {
    struct flow *other = &model.flows[i];
    if (other == flow || !other->known) continue;
    CHECK(other->handle != flow->handle);
    bool before = other->state == DEAD && other->ended <= flow->created;
    bool after = flow->state == DEAD && flow->ended <= other->created;
    CHECK(other->lease != flow->lease || before || after);
  }
}

static void step_event(void) {
  struct nat_event event;
  struct flow *flow = model.events[0].flow;
  CHECK_EQUAL(nat_next_event(nat, &event), model.events_length > 0);
  if (model.events_length == 0) return;
  CHECK_EQUAL(event.kind, model.events[0].kind);
  CHECK_EQUAL(event.family, flow->syn.family);
  CHECK(memcmp(event.source, flow->syn.source, 16) == 0 && memcmp(event.destination, flow->syn.destination, 16) == 0);
  CHECK(event.source_port == flow->syn.source_port && event.destination_port == flow->syn.destination_port);
  if (event.kind == NAT_EVENT_SYN) learn(flow, &event);
  else CHECK_EQUAL(event.flow, flow->handle);
  memmove(model.events, model.events + 1, --model.events_length * sizeof *model.events);
}

static void step_decision(void) {
  struct flow *flow = any_flow();
  if (flow == NULL || !flow->known) return;
  switch (flow->state == PENDING ? below(calm ? 10 : 4) : below(calm ? 60 : 8)) {
    case 0: {
      enum nat_refusal refusal = (enum nat_refusal)below(5);
      size_t length = nat_refuse(nat, flow->handle, refusal, model.out, model.now);
      if (flow->state != PENDING) {
        CHECK_EQUAL(length, 0);
        break;
      }
      flow->refusal = refusal;
      model.wanted.flows_refused_total++;
      if (refusal == NAT_REFUSE_SILENT) {
        flow->state = SILENT;
        model.wanted.frames_held--;
        expect_drop(length, NAT_DROP_SILENT);
      } else if (refusal == NAT_REFUSE_RESET || model.now >= flow->last_syn + 5) {
        flow->state = REFUSED;
        flow->deadline = model.now + 3000;
        model.wanted.frames_held--;
        expect_refusal(length, &flow->syn, refusal);
      } else {
        CHECK_EQUAL(length, 0);
        flow->state = ANSWERING;
        flow->deadline = flow->last_syn + 5;
        if (model.answering_length > 0 && model.answering[model.answering_length - 1]->deadline > flow->deadline) {
          flow->deadline = model.answering[model.answering_length - 1]->deadline; /* they come in order */
        }
        model.answering[model.answering_length++] = flow;
      }
      break;
    }
    case 1:
      nat_close(nat, flow->handle, model.now);
      if (flow->state == PENDING) {
        model.wanted.frames_held--;
        model.wanted.dropped[NAT_DROP_GIVEN_UP]++;
        die(flow, model.now);
      } else if (flow->state == OPENING || flow->state == ESTABLISHED) {
        flow->closed = true;
        lingers(flow);
      } else if (flow->state == LINGERING) {
        flow->closed = true;
      }
      break;
    default: {
      size_t length = nat_open(nat, flow->handle, model.out, model.now);
      CHECK_EQUAL(length > 0, flow->state == PENDING);
      if (flow->state != PENDING) break;
      flow->state = OPENING;
      if (flow->deadline < model.now + 4000) flow->deadline = model.now + 4000;
      model.wanted.frames_held--;
      model.wanted.flows_opened_total++;
      expect_to_listener(length, flow, &flow->syn);
      break;
    }
  }
}

static void step_clock(void) {
  static const uint32_t steps[] = {0, 1, 2, 5, 5, 5, 100, 100, 1000, 1000, 1000, 3000, 10000, 160000};
  model.now += below(steps[below(sizeof steps / sizeof *steps)] + 1);
  for (bool certain = false; !certain;) {
    certain = true;
    for (unsigned i = 0; i < model.flows_length; i++) {
      const struct flow *f = &model.flows[i];
      if (!is_timed(f) || f->deadline > model.now || f->deadline + NAT_SWEEP_MS < model.now) continue;
      model.now = f->deadline + NAT_SWEEP_MS + 1;
      certain = false;
    }
  }
  size_t length;
  while ((length = nat_due(nat, model.out, model.now)) > 0) {
    CHECK(model.answering_length > 0);
    struct flow *flow = model.answering[0];
    CHECK(flow->deadline <= model.now);
    memmove(model.answering, model.answering + 1, --model.answering_length * sizeof *model.answering);
    model.wanted.frames_held--;
    expect_refusal(length, &flow->syn, flow->refusal);
    flow->state = REFUSED;
    flow->deadline = model.now + 3000;
  }
  CHECK(model.answering_length == 0 || model.answering[0]->deadline > model.now);
  CHECK(nat_deadline(nat) > model.now);
  /* What expired at the same time is told in the order in which the applications last asked. */
  for (;;) {
    struct flow *next = NULL;
    for (unsigned i = 0; i < model.flows_length; i++) {
      struct flow *f = &model.flows[i];
      if (is_timed(f) && f->deadline <= model.now && (next == NULL || f->asked < next->asked)) next = f;
    }
    if (next == NULL) break;
    if (next->state == PENDING || next->state == OPENING) gives_up(next, next->deadline);
    else die(next, next->deadline);
  }
}

int main(void) {
  uint64_t first = random_seed("MODEL_TEST_SEED");
  struct nat_counters total = {0};
  for (uint64_t run = 0; run < RUNS; run++) {
    calm = run % 2 == 0;
    tuples = run % 3 == 0 ? 60 : 12;
    nat = model_start(first + run);
    for (unsigned step = 0; step < STEPS; step++) {
      snprintf(frames_context, sizeof frames_context, "MODEL_TEST_SEED=%llu, first run, step %u, at %llu ms",
               (unsigned long long)(first + run), step, (unsigned long long)model.now);
      uint32_t choice = below(100);
      if (choice < 35) step_application();
      else if (choice < 55) step_listener();
      else if (choice < (step / 200 % 4 == 0 ? 57 : 75)) step_event(); /* at times JavaScript is slow */
      else if (choice < 96) step_decision();
      else step_clock();
      model.wanted.flows_pending = count(PENDING);
      model.wanted.flows_live = count(OPENING) + count(ESTABLISHED);
      model.wanted.flows_lingering = count(LINGERING);
      CHECK(memcmp(&model.wanted, nat_get_counters(nat), sizeof model.wanted) == 0);
    }
    nat_free(nat);
    total.frames_in += model.wanted.frames_in;
    total.frames_forwarded += model.wanted.frames_forwarded;
    total.frames_answered += model.wanted.frames_answered;
    total.flows_opened_total += model.wanted.flows_opened_total;
    for (int reason = 0; reason < NAT_DROP_REASONS; reason++) total.dropped[reason] += model.wanted.dropped[reason];
  }
  printf("ok %u runs of %u steps: %llu frames, %llu forwarded, %llu answered, %llu flows opened; dropped:", RUNS, STEPS,
         (unsigned long long)total.frames_in, (unsigned long long)total.frames_forwarded,
         (unsigned long long)total.frames_answered, (unsigned long long)total.flows_opened_total);
  for (int reason = 0; reason < NAT_DROP_REASONS; reason++) printf(" %llu", (unsigned long long)total.dropped[reason]);
  printf("\n");
  /* Each limit must have been met, or the traffic isn't what this test is for. */
  CHECK(total.dropped[NAT_DROP_PENDING_LIMIT] > 0 && total.dropped[NAT_DROP_EVENT_LIMIT] > 0 &&
        total.dropped[NAT_DROP_FLOW_LIMIT] > 0);
  return 0;
}
