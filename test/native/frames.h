/*
 * frames.h - what the C tests share: frames built from a description and read back into one, with checksums computed
 * from scratch, word by word, and without any function of the engine; and checks that say what was found.
 */
#ifndef TUNNEL_TEST_FRAMES_H
#define TUNNEL_TEST_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                       \
  do {                                                                                         \
    if (!(condition)) frames_fail(__FILE__, __LINE__, #condition);                             \
  } while (0)
#define CHECK_EQUAL(got, wanted)                                                               \
  do {                                                                                         \
    long long got_ = (long long)(got), wanted_ = (long long)(wanted);                          \
    if (got_ != wanted_) frames_fail_equal(__FILE__, __LINE__, #got " == " #wanted, got_, wanted_); \
  } while (0)

/* Printed with every failure: the seed and the step of a random test. */
extern char frames_context[200];
_Noreturn void frames_fail(const char *file, int line, const char *what);
_Noreturn void frames_fail_equal(const char *file, int line, const char *what, long long got, long long wanted);

struct named_test {
  const char *name;
  void (*run)(void);
};
/* Runs each, prints its name; a failing one ends the program. */
int frames_run(const struct named_test *tests, size_t count);

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

/* A TCP segment with its IP and virtio headers. Equal descriptions are equal frames. */
struct segment {
  uint8_t source[16], destination[16]; /* IPv4: the first four */
  uint16_t source_port, destination_port;
  uint32_t sequence, acknowledgement;
  uint16_t payload;                    /* octets; the n-th is pattern + 7 n */
  uint16_t gso_size, hdr_len;
  uint8_t family, flags, pattern, gso_type;
  uint8_t ip_options, tcp_options;     /* octets, multiples of 4; IPv4 and TCP no-operation options */
  bool partial;                        /* NEEDS_CSUM: the checksum field holds the pseudo-header's sum */
};

#define SEGMENT_CAPACITY (10 + 65535 + 40)

/* Returns the length of the frame. */
size_t segment_write(const struct segment *segment, uint8_t *frame);
/* Fails the test if the frame isn't exactly one segment with right checksums and a payload of segment_write(). */
struct segment segment_read(const uint8_t *frame, size_t length);
bool segment_equal(const struct segment *a, const struct segment *b);

/* Any other packet. Returns the length of the frame; its virtio header is zero. */
size_t ip_write(uint8_t *frame, uint8_t family, const uint8_t *source, const uint8_t *destination, uint8_t protocol,
                const void *payload, size_t length);

struct icmp {
  uint8_t source[16], destination[16];
  uint8_t family, type, code;
  const uint8_t *quoted;
  size_t quoted_length;
};
/* Fails the test if the frame isn't an ICMP or ICMPv6 message with a zeroed virtio header and right checksums. */
struct icmp icmp_read(const uint8_t *frame, size_t length);

/* RFC 1071, one octet at a time, of a pseudo-header (family 0: none) and a buffer. Host order, not complemented. */
uint16_t reference_sum(uint8_t family, const uint8_t *source, const uint8_t *destination, uint8_t protocol,
                       const uint8_t *bytes, size_t length);

/* splitmix64 */
uint64_t random_next(uint64_t *state);
uint32_t random_below(uint64_t *state, uint32_t limit);
/* From the environment variable, or of the time; printed. */
uint64_t random_seed(const char *variable);

#endif
