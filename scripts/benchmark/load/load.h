/*
 * What the parts of the load generator share: protocol, sizes, counters. load.c says what it is
 * for.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first byte of a connection says what the server does with it. */
enum manner {
  ECHO = 'E',   /* sends back what comes */
  SINK = 'S',   /* reads and throws away */
  SOURCE = 'C', /* sends without end, up to BLOCKS_A_TURN after each poll */
  PORTION =
      'B', /* the same until so many bytes are sent as the next 8 say, in this machine's order */
  POLITE = 'P', /* sends without end, but one small write after each poll, as OpenSSH does */
};

/* Read or written at once; the size that iperf3 uses. */
#define BLOCK_BYTES (128 * 1024)
/* What OpenSSH has ready at most when it writes: a packet of the largest size. */
#define POLITE_BYTES (32 * 1024)
/* A request and its answer: small enough to be taken by any socket at once. */
#define REQUEST_BYTES 1024
/*
 * Blocks written to one socket before it is polled again, as many as iperf3 does: just less than
 * the third of the largest send buffer that is free when the kernel calls it writable. A writer
 * that goes on until nothing more is taken gets less out of a long line (60 MB/s instead of 70 at
 * 50 ms), because it then waits for a whole third.
 */
#define BLOCKS_A_TURN 10
#define EVENTS_A_TURN 256

extern uint8_t block[BLOCK_BYTES];
extern uint64_t received, sent;

uint64_t now_ns(void);
/* Says what failed, with errno's text, and ends the program. */
_Noreturn void die(const char *what);
/* Adds a descriptor to the set, or changes what is waited for; `tag` comes back with its events. */
void watch(int set, int fd, uint32_t events, void *tag, bool known);
/* Writes as the manner has it, and no more than *left, which it lowers. False: the peer is gone. */
bool pour(int fd, enum manner manner, uint64_t *left);
/* One line for each line on standard input, and the end with it. */
void answer_input(void);

_Noreturn void serve(uint16_t port);
/* Computes for a time, rests for a time, again. */
_Noreturn void burn(int64_t on_ns, int64_t off_ns);

#endif
