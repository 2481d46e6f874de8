/* frames.c - building and reading frames for the C tests; see frames.h. */
#include "frames.h"

#include <string.h>
#include <time.h>

char frames_context[200];

void frames_fail(const char *file, int line, const char *what) {
  printf("FAILED %s:%d: %s\n%s\n", file, line, what, frames_context);
  fflush(stdout);
  abort();
}

void frames_fail_equal(const char *file, int line, const char *what, long long got, long long wanted) {
  printf("FAILED %s:%d: %s: got %lld (%#llx), wanted %lld (%#llx)\n%s\n", file, line, what, got,
         (unsigned long long)got, wanted, (unsigned long long)wanted, frames_context);
  fflush(stdout);
  abort();
}

int frames_run(const struct named_test *tests, size_t count) {
  for (size_t i = 0; i < count; i++) {
    snprintf(frames_context, sizeof frames_context, "in: %s", tests[i].name);
    tests[i].run();
    printf("ok %s\n", tests[i].name);
  }
  return 0;
}

/* -- Bytes ---------------------------------------------------------------------------------------------------- */

static void put16(uint8_t *to, unsigned value) {
  to[0] = (uint8_t)(value >> 8);
  to[1] = (uint8_t)value;
}

static void put32(uint8_t *to, uint32_t value) {
  put16(to, value >> 16);
  put16(to + 2, value & 0xffff);
}

static uint16_t get16(const uint8_t *from) { return (uint16_t)(from[0] * 256 + from[1]); }
static uint32_t get32(const uint8_t *from) { return (uint32_t)get16(from) * 65536 + get16(from + 2); }

uint16_t reference_sum(uint8_t family, const uint8_t *source, const uint8_t *destination, uint8_t protocol,
                       const uint8_t *bytes, size_t length) {
  uint64_t sum = 0;
  for (size_t i = 0; i < length; i++) sum += (uint64_t)bytes[i] << (i % 2 == 0 ? 8 : 0);
  if (family != 0) {
    for (size_t i = 0; i < (family == 4 ? 4 : 16); i++) {
      sum += (uint64_t)(source[i] + destination[i]) << (i % 2 == 0 ? 8 : 0);
    }
    sum += protocol + (length >> 16) + (length & 0xffff);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

/* -- Writing -------------------------------------------------------------------------------------------------- */

/* Writes an IP header with `options` octets of IPv4 options; returns its length. */
static size_t write_ip(uint8_t *ip, uint8_t family, const uint8_t *source, const uint8_t *destination, uint8_t protocol,
                       size_t options, size_t length) {
  if (family == 6) {
    memset(ip, 0, 40);
    ip[0] = 0x60;
    put16(ip + 4, (unsigned)length);
    ip[6] = protocol;
    ip[7] = 61;
    memcpy(ip + 8, source, 16);
    memcpy(ip + 24, destination, 16);
    return 40;
  }
  size_t header = 20 + options;
  memset(ip, 0, 20);
  memset(ip + 20, 1, options);
  ip[0] = (uint8_t)(0x40 + header / 4);
  put16(ip + 2, (unsigned)(header + length));
  put16(ip + 4, 0x1234);
  put16(ip + 6, 0x4000);
  ip[8] = 61;
  ip[9] = protocol;
  memcpy(ip + 12, source, 4);
  memcpy(ip + 16, destination, 4);
  put16(ip + 10, (uint16_t)~reference_sum(0, NULL, NULL, 0, ip, header));
  return header;
}

size_t segment_write(const struct segment *s, uint8_t *frame) {
  uint8_t *ip = frame + 10;
  size_t header = 20u + s->tcp_options, length = header + s->payload;
  size_t ip_header = write_ip(ip, s->family, s->source, s->destination, 6, s->ip_options, length);
  uint8_t *tcp = ip + ip_header;
  memset(tcp, 0, 20);
  memset(tcp + 20, 1, s->tcp_options);
  put16(tcp, s->source_port);
  put16(tcp + 2, s->destination_port);
  put32(tcp + 4, s->sequence);
  put32(tcp + 8, s->acknowledgement);
  tcp[12] = (uint8_t)(header / 4 << 4);
  tcp[13] = s->flags;
  put16(tcp + 14, 0xfaf0);
  for (size_t i = 0; i < s->payload; i++) tcp[header + i] = (uint8_t)(s->pattern + 7 * i);

  memset(frame, 0, 10);
  frame[1] = s->gso_type;
  memcpy(frame + 2, &s->hdr_len, 2);
  memcpy(frame + 4, &s->gso_size, 2);
  if (s->partial) {
    uint16_t start = (uint16_t)ip_header, offset = 16;
    uint8_t lengths[1] = {0};
    frame[0] = 1;
    memcpy(frame + 6, &start, 2);
    memcpy(frame + 8, &offset, 2);
    /* The pseudo-header alone: that of an empty segment, and the real length. */
    uint32_t sum = reference_sum(s->family, s->source, s->destination, 6, lengths, 0) + (uint32_t)length;
    put16(tcp + 16, (sum & 0xffff) + (sum >> 16));
  } else {
    put16(tcp + 16, (uint16_t)~reference_sum(s->family, s->source, s->destination, 6, tcp, length));
  }
  return 10 + ip_header + length;
}

size_t ip_write(uint8_t *frame, uint8_t family, const uint8_t *source, const uint8_t *destination, uint8_t protocol,
                const void *payload, size_t length) {
  memset(frame, 0, 10);
  size_t header = write_ip(frame + 10, family, source, destination, protocol, 0, length);
  memcpy(frame + 10 + header, payload, length);
  return 10 + header + length;
}

/* -- Reading -------------------------------------------------------------------------------------------------- */

static size_t read_ip(const uint8_t *ip, size_t length, uint8_t source[16], uint8_t destination[16]) {
  CHECK(length >= 20);
  if (ip[0] >> 4 == 6) {
    CHECK(length >= 40);
    CHECK_EQUAL(40 + get16(ip + 4), length);
    memcpy(source, ip + 8, 16);
    memcpy(destination, ip + 24, 16);
    return 40;
  }
  size_t header = (size_t)(ip[0] & 15) * 4;
  CHECK_EQUAL(ip[0] >> 4, 4);
  CHECK_EQUAL(get16(ip + 2), length);
  CHECK(header >= 20 && header <= length);
  CHECK_EQUAL(reference_sum(0, NULL, NULL, 0, ip, header), 0xffff);
  memcpy(source, ip + 12, 4);
  memcpy(destination, ip + 16, 4);
  return header;
}

struct segment segment_read(const uint8_t *frame, size_t length) {
  struct segment s = {0};
  CHECK(length > 10);
  const uint8_t *ip = frame + 10;
  size_t ip_length = length - 10, ip_header = read_ip(ip, ip_length, s.source, s.destination);
  s.family = ip[0] >> 4;
  CHECK_EQUAL(s.family == 4 ? ip[9] : ip[6], 6);
  if (s.family == 4) s.ip_options = (uint8_t)(ip_header - 20);
  const uint8_t *tcp = ip + ip_header;
  size_t tcp_length = ip_length - ip_header;
  CHECK(tcp_length >= 20);
  size_t header = (size_t)(tcp[12] >> 4) * 4;
  CHECK(header >= 20 && header <= tcp_length);
  s.tcp_options = (uint8_t)(header - 20);
  s.payload = (uint16_t)(tcp_length - header);
  s.source_port = get16(tcp);
  s.destination_port = get16(tcp + 2);
  s.sequence = get32(tcp + 4);
  s.acknowledgement = get32(tcp + 8);
  s.flags = tcp[13];
  if (s.payload > 0) s.pattern = tcp[header];
  for (size_t i = 0; i < s.payload; i++) CHECK_EQUAL(tcp[header + i], (uint8_t)(s.pattern + 7 * i));

  s.gso_type = frame[1];
  memcpy(&s.hdr_len, frame + 2, 2);
  memcpy(&s.gso_size, frame + 4, 2);
  s.partial = (frame[0] & 1) != 0;
  if (s.partial) {
    uint16_t start, offset;
    memcpy(&start, frame + 6, 2);
    memcpy(&offset, frame + 8, 2);
    CHECK_EQUAL(start, ip_header);
    CHECK_EQUAL(offset, 16);
    uint32_t sum = reference_sum(s.family, s.source, s.destination, 6, tcp, 0) + (uint32_t)tcp_length;
    /* 0 and 0xffff are the same number in one's complement */
    CHECK_EQUAL(get16(tcp + 16) % 0xffff, ((sum & 0xffff) + (sum >> 16)) % 0xffff);
  } else {
    CHECK_EQUAL(reference_sum(s.family, s.source, s.destination, 6, tcp, tcp_length), 0xffff);
  }
  return s;
}

bool segment_equal(const struct segment *a, const struct segment *b) {
  return memcmp(a->source, b->source, 16) == 0 && memcmp(a->destination, b->destination, 16) == 0 &&
         a->source_port == b->source_port && a->destination_port == b->destination_port &&
         a->sequence == b->sequence && a->acknowledgement == b->acknowledgement && a->payload == b->payload &&
         (a->payload == 0 || a->pattern == b->pattern) && a->gso_size == b->gso_size && a->hdr_len == b->hdr_len &&
         a->gso_type == b->gso_type && a->family == b->family && a->flags == b->flags &&
         a->ip_options == b->ip_options && a->tcp_options == b->tcp_options && a->partial == b->partial;
}

struct icmp icmp_read(const uint8_t *frame, size_t length) {
  static const uint8_t zeros[10];
  struct icmp icmp = {0};
  CHECK(length > 10);
  CHECK(memcmp(frame, zeros, 10) == 0);
  const uint8_t *ip = frame + 10;
  size_t header = read_ip(ip, length - 10, icmp.source, icmp.destination);
  size_t message_length = length - 10 - header;
  const uint8_t *message = ip + header;
  icmp.family = ip[0] >> 4;
  CHECK_EQUAL(icmp.family == 4 ? ip[9] : ip[6], icmp.family == 4 ? 1 : 58);
  CHECK(message_length >= 8);
  uint8_t pseudo = icmp.family == 6 ? 6 : 0;
  CHECK_EQUAL(reference_sum(pseudo, icmp.source, icmp.destination, 58, message, message_length), 0xffff);
  CHECK_EQUAL(get32(message + 4), 0);
  icmp.type = message[0];
  icmp.code = message[1];
  icmp.quoted = message + 8;
  icmp.quoted_length = message_length - 8;
  return icmp;
}

/* -- Randomness ----------------------------------------------------------------------------------------------- */

uint64_t random_next(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

uint32_t random_below(uint64_t *state, uint32_t limit) { return (uint32_t)(random_next(state) % limit); }

uint64_t random_seed(const char *variable) {
  const char *text = getenv(variable);
  uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
  printf("%s=%llu\n", variable, (unsigned long long)seed);
  return seed;
}
