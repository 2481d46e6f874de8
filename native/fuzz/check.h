/* check.h - a condition that no input may break; and memory that the code must not read. */
#ifndef TUNNEL_FUZZ_CHECK_H
#define TUNNEL_FUZZ_CHECK_H

#include <sanitizer/asan_interface.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) {                                                      \
      fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                               \
    }                                                                        \
  } while (0)

/* Of a buffer only the first `length` octets may be read. */
static inline void only_readable(void *buffer, size_t capacity, size_t length) {
  ASAN_UNPOISON_MEMORY_REGION(buffer, capacity);
  ASAN_POISON_MEMORY_REGION((uint8_t *)buffer + length, capacity - length);
}

#endif
