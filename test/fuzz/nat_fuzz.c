/*
 * nat_fuzz.c - native/nat.c driven by arbitrary bytes.
 *
 * The bytes are a program: raw frames, valid segments with some octets bent, decisions about flows that exist or don't,
 * steps of the clock. It runs on two engines at once whose frame buffers differ in what lies behind the frame, so that
 * a read beyond it shows as a difference even where the buffer must be larger than the frame. After each step the frame
 * counters must add up, and whatever comes out must be a packet that is well-formed.
 *
 * Built with -fsanitize=fuzzer where clang has it; with -DNAT_FUZZ_STANDALONE it has a main() of its own that makes
 * random programs for a number of seconds (first argument). The limits are small, so that they are reached.
 */
#include <string.h>
#include <time.h>

#include "frames.h"
#include "nat.h"
#include "packet.h"

#define LISTEN_PORT 5555
#define HANDLES 8u
#define PROGRAM_MAX 2048u

struct program {
  const uint8_t *bytes;
  size_t left;
};

static struct nat *engines[2];
static uint64_t now, handles[HANDLES];
static struct nat_event last_event;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t next_byte(struct program *program) {
  if (program->left == 0) return 0;
  program->left--;
  return *program->bytes++;
}

static void check_counters(void) {
  const struct nat_counters *c = nat_get_counters(engines[0]);
  uint64_t sum = c->frames_forwarded + c->frames_answered + c->frames_held;
  for (int reason = 0; reason < NAT_DROP_REASONS; reason++) sum += c->dropped[reason];
  CHECK_EQUAL(c->frames_in, sum);
  CHECK(c->frames_held <= NAT_MAX_PENDING);
  CHECK(c->flows_live + c->flows_pending + c->flows_lingering <= NAT_MAX_FLOWS);
  CHECK(memcmp(c, nat_get_counters(engines[1]), sizeof *c) == 0);
}

static void check_output(uint8_t *const out[2], const size_t length[2]) {
  CHECK_EQUAL(length[0], length[1]);
  CHECK(memcmp(out[0], out[1], length[0]) == 0);
  if (length[0] == 0) return;
  struct packet packet;
  enum packet_kind kind = packet_parse(&packet, out[0], length[0]);
  CHECK(kind == PACKET_TCP || kind == PACKET_UNANSWERABLE); /* segments, ICMP errors */
  CHECK_EQUAL(packet.length, length[0] - NAT_VNET_HDR_LEN);
}

static void input(const uint8_t *frame, size_t length) {
  size_t capacity = length < NAT_ANSWER_CAPACITY ? NAT_ANSWER_CAPACITY : length, lengths[2];
  uint8_t *buffers[2];
  for (int i = 0; i < 2; i++) {
    buffers[i] = malloc(capacity);
    memset(buffers[i], i == 0 ? 0x00 : 0xff, capacity);
    memcpy(buffers[i], frame, length);
    lengths[i] = nat_input(engines[i], buffers[i], length, now);
    CHECK(lengths[i] <= capacity);
  }
  check_output(buffers, lengths);
  for (int i = 0; i < 2; i++) free(buffers[i]);

  /* Parsing alone needs no room beyond the frame. */
  uint8_t *exact = malloc(length + (length == 0));
  struct packet packet;
  memcpy(exact, frame, length);
  packet_parse(&packet, exact, length);
  free(exact);
}

static void raw_frame(struct program *program) {
  size_t length = next_byte(program) | (size_t)(next_byte(program) % 8) << 8;
  if (length > program->left) length = program->left;
  input(program->bytes, length);
  program->bytes += length;
  program->left -= length;
}

static void lease_address(uint8_t address[16], uint8_t family) {
  static const uint8_t peer4[16] = {198, 18, 3, 2}, peer6[16] = {0x20, 1, 0, 2, [15] = 2};
  memcpy(address, family == 4 ? peer4 : peer6, 16);
  address[family == 4 ? 3 : 15] = (uint8_t)(address[family == 4 ? 3 : 15] + last_event.lease_peer);
}

/* A valid segment of an application or the listener, a few octets of which are then changed. */
static void bent_segment(struct program *program, bool listener) {
  static const uint8_t a4[16] = {192, 168, 7, 2}, d4[16] = {10, 1, 2, 3}, l4[16] = {198, 18, 3, 1};
  static const uint8_t a6[16] = {0x20, 1, 0xd, 0xb8}, d6[16] = {0xfd, 0, 0, 9}, l6[16] = {0x20, 1, 0, 2, [15] = 1};
  static uint8_t frame[SEGMENT_CAPACITY];
  uint8_t which = next_byte(program), shape = next_byte(program);
  struct segment s = {.family = which & 1 ? 6 : 4, .flags = next_byte(program), .sequence = next_byte(program) & 3};
  s.tcp_options = (uint8_t)((shape & 3) * 12);
  s.ip_options = s.family == 4 ? (uint8_t)((shape >> 2 & 1) * 8) : 0;
  s.partial = (shape >> 3 & 1) != 0;
  s.payload = (uint16_t)((shape >> 4) * (shape >> 4) * 6);
  if (listener) {
    memcpy(s.source, s.family == 4 ? l4 : l6, 16);
    lease_address(s.destination, s.family);
    s.source_port = LISTEN_PORT;
    s.destination_port = last_event.lease_port;
  } else {
    memcpy(s.source, s.family == 4 ? a4 : a6, 16);
    memcpy(s.destination, s.family == 4 ? d4 : d6, 16);
    s.source_port = (uint16_t)(40000 + (which >> 1 & 63));
    s.destination_port = 443;
  }
  size_t length = segment_write(&s, frame);
  for (unsigned bends = which >> 7 ? next_byte(program) % 4u : 0; bends > 0; bends--) {
    size_t at = next_byte(program) % length;
    frame[at] = next_byte(program);
  }
  input(frame, length);
}

static uint64_t handle(struct program *program) {
  uint8_t which = next_byte(program);
  return which < 240 ? handles[which % HANDLES] : handles[which % HANDLES] + (uint64_t)which * 0x40001;
}

static void decide(struct program *program) {
  uint8_t kind = next_byte(program);
  uint64_t flow = handle(program);
  uint8_t *out[2];
  size_t lengths[2] = {0, 0};
  for (int i = 0; i < 2; i++) {
    out[i] = malloc(NAT_ANSWER_CAPACITY);
    if (kind % 3 == 0) lengths[i] = nat_open(engines[i], flow, out[i], now);
    else if (kind % 3 == 1) lengths[i] = nat_refuse(engines[i], flow, (enum nat_refusal)(kind / 3 % 5), out[i], now);
    else nat_close(engines[i], flow, now);
  }
  check_output(out, lengths);
  for (int i = 0; i < 2; i++) free(out[i]);
}

static void tick(struct program *program) {
  uint8_t by = next_byte(program);
  now += (uint64_t)(by & 15) << (by >> 4);
  uint8_t *out[2] = {malloc(NAT_ANSWER_CAPACITY), malloc(NAT_ANSWER_CAPACITY)};
  size_t lengths[2];
  do {
    for (int i = 0; i < 2; i++) lengths[i] = nat_due(engines[i], out[i], now);
    check_output(out, lengths);
  } while (lengths[0] > 0);
  CHECK(nat_deadline(engines[0]) > now);
  for (int i = 0; i < 2; i++) free(out[i]);
}

static void take_event(void) {
  struct nat_event event, other;
  bool taken = nat_next_event(engines[0], &event);
  CHECK_EQUAL(nat_next_event(engines[1], &other), taken);
  if (!taken) return;
  CHECK(memcmp(&event, &other, sizeof event) == 0);
  CHECK(event.flow < (uint64_t)1 << 52 && event.lease_peer < NAT_PEERS && event.lease_port >= NAT_FIRST_PORT);
  memmove(handles + 1, handles, sizeof handles - sizeof *handles);
  handles[0] = event.flow;
  last_event = event;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct program program = {data, size};
  uint8_t config_byte = next_byte(&program);
  struct nat_config config = {.listen4 = {198, 18, 3, 1}, .peer4 = {198, 18, 3, 2}, .hash_seed = {1, config_byte},
                              .listen6 = {0x20, 1, 0, 2, [15] = 1}, .peer6 = {0x20, 1, 0, 2, [15] = 2}};
  config.listen_port4 = config_byte & 1 ? 0 : LISTEN_PORT;
  config.listen_port6 = config_byte & 2 ? 0 : LISTEN_PORT;
  now = 0;
  memset(handles, 0, sizeof handles);
  memset(&last_event, 0, sizeof last_event);
  for (int i = 0; i < 2; i++) CHECK((engines[i] = nat_new(&config)) != NULL);
  while (program.left > 0) {
    uint8_t step = next_byte(&program) % 8;
    if (step == 0) raw_frame(&program);
    else if (step <= 2) bent_segment(&program, false);
    else if (step == 3) bent_segment(&program, true);
    else if (step == 4) decide(&program);
    else if (step == 5) tick(&program);
    else take_event();
    check_counters();
  }
  for (int i = 0; i < 2; i++) nat_free(engines[i]);
  return 0;
}

#ifdef NAT_FUZZ_STANDALONE
int main(int argc, char **argv) {
  uint64_t first = random_seed("NAT_FUZZ_SEED"), runs = 0;
  time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 10);
  static uint8_t program[PROGRAM_MAX];
  for (; time(NULL) < end; runs++) {
    uint64_t state = first + runs;
    size_t length = 1 + random_below(&state, sizeof program);
    snprintf(frames_context, sizeof frames_context, "NAT_FUZZ_SEED=%llu, first run", (unsigned long long)state);
    for (size_t i = 0; i < length; i++) program[i] = (uint8_t)random_next(&state);
    LLVMFuzzerTestOneInput(program, length);
  }
  printf("ok %llu random programs\n", (unsigned long long)runs);
  return 0;
}
#endif
