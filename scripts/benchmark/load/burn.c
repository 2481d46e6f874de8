/*
 * The neighbour: burns a part of one processor, so the measured programs have to share the machine.
 * It computes until it has had `on_ns` of processor time, however long that takes, then sleeps
 * until its next period begins. It prints "burning" once, and ends with standard input, so it can't
 * outlive the program that started it.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define NANOSECONDS INT64_C(1000000000)

static int64_t read_clock(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * NANOSECONDS + now.tv_nsec;
}

/* Waits at most `ns` for the end of standard input. True: it has ended. */
static bool input_ends_within(int64_t ns) {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  struct timespec wait = {.tv_sec = ns / NANOSECONDS, .tv_nsec = ns % NANOSECONDS};
  char line[64];
  return ppoll(&input, 1, &wait, NULL) > 0 && read(STDIN_FILENO, line, sizeof line) <= 0;
}

/* Takes some microseconds, so that reading the clock isn't most of the work. */
static void compute(void) { for (volatile int i = 0; i < 10000; i++); }

_Noreturn void burn(int64_t on_ns, int64_t off_ns) {
  puts("burning");
  fflush(stdout);
  int64_t next = read_clock(CLOCK_MONOTONIC);
  for (;;) {
    int64_t enough = read_clock(CLOCK_THREAD_CPUTIME_ID) + on_ns;
    while (read_clock(CLOCK_THREAD_CPUTIME_ID) < enough) compute();
    next += on_ns + off_ns;
    int64_t now = read_clock(CLOCK_MONOTONIC);
    if (next < now) /* the processors were too busy: don't make up for missed time */
      next = now;
    if (input_ends_within(next - now)) exit(0);
  }
}
