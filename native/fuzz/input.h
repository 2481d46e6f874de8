/* input.h - takes values from a fuzzer's octets; after their end all values are zero. */
#ifndef TUNNEL_FUZZ_INPUT_H
#define TUNNEL_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
  const uint8_t *at;
  size_t left;
};

static inline uint8_t input_u8(struct input *input) {
  if (input->left == 0) return 0;
  input->left--;
  return *input->at++;
}

static inline uint16_t input_u16(struct input *input) {
  const uint16_t high = input_u8(input);
  return (uint16_t)(high << 8 | input_u8(input));
}

/* Copies up to `length` octets; returns how many there were. */
static inline size_t input_take(struct input *input, void *to, size_t length) {
  const size_t taken = length < input->left ? length : input->left;
  if (taken > 0) memcpy(to, input->at, taken);
  input->at += taken;
  input->left -= taken;
  return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
