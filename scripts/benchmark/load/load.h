/*
 * What the parts of the load generator share: protocol, sizes, counters. load.c describes it.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first byte of a connection says what the server does with it. */
enum manner {
  ECHO = 'E',   /* sends back what it gets */
  SINK = 'S',   /* reads and throws away */
  SOURCE = 'C', /* sends without end, up to BLOCKS_A_TURN after each poll */
  PORTION =
      'B', /* the same, as many bytes as the next 8 bytes say, in this machine's order */
  POLITE = 'P', /* sends without end, one small write after each poll, as OpenSSH does */
};

/* The size of a read or write; iperf3 uses the same. */
#define BLOCK_BYTES (128 * 1024)
/* The most that OpenSSH has ready when it writes: a packet of the largest size. */
#define POLITE_BYTES (32 * 1024)
/* A request and its answer: small enough for any socket to take at once. */
#define REQUEST_BYTES 1024
/*
 * Blocks written to one socket before it is polled again, as in iperf3: just less than the third of
 * the largest send buffer that is free when the kernel calls it writable. A writer that goes on
 * until the socket takes no more gets less out of a long line (60 MB/s instead of 70 at 50 ms),
 * because it then waits for a whole third.
 */
#define BLOCKS_A_TURN 10
#define EVENTS_A_TURN 256

extern uint8_t block[BLOCK_BYTES];
extern uint64_t received, sent;

uint64_t now_ns(void);
/* Prints what failed, with errno's text, and ends the program. */
_Noreturn void die(const char *what);
/* Adds a descriptor to the set, or changes its events; `tag` comes back with its events. */
void watch(int set, int fd, uint32_t events, void *tag, bool known);
/* Writes as the manner says, at most *left, which it lowers. False: the peer is gone. */
bool pour(int fd, enum manner manner, uint64_t *left);
/* Prints one line for each line on standard input, and ends the program with it. */
void answer_input(void);

_Noreturn void serve(uint16_t port);
/* Computes for a time, rests for a time, and so on. */
_Noreturn void burn(int64_t on_ns, int64_t off_ns);

#endif
