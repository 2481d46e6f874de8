/*
 * gcmcheck.c - native/gcm.c under AddressSanitizer and UBSan: seals and opens packets of every
 * length in memory of exactly that length, also cut short and with a bit changed. Prints how many,
 * and exits with 1 at the first wrong result. `gcmcheck SEED ROUNDS`; needs libcrypto.so.3, which
 * comes with OpenSSH.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gcm.h"

enum { LONGEST = 40000, BLOCK = 16, LEAST_PADDING = 4, MOST_PADDING = 255 };

static void check(bool good, const char *what, size_t length) {
  if (good) return;
  fprintf(stderr, "%s: %zu bytes\n", what, length);
  exit(1);
}

/* Memory that ends where the packet does, so that a sanitizer sees any access beyond it. */
static uint8_t *exactly(size_t length) {
  uint8_t *bytes = malloc(length == 0 ? 1 : length);
  check(bytes != NULL, "no memory", length);
  return bytes;
}

/* The length of the shortest packet with this much channel data (RFC 4253 section 6). */
static size_t shortest(size_t length) {
  const size_t text = 1 + GCM_DATA_HEAD + length + LEAST_PADDING;
  return GCM_LENGTH + (text + BLOCK - 1) / BLOCK * BLOCK + GCM_TAG;
}

static void round_trip(struct gcm *sealer, struct gcm *opener, size_t length) {
  const size_t whole = shortest(length);
  uint8_t *data = exactly(length), *packet = exactly(whole);
  memset(data, (int)length, length);
  for (size_t less = 1; less <= whole; less += less < BLOCK ? 1 : whole / 5)
    check(!gcm_seal_data(sealer, packet, whole - less, 7, data, length), "sealed without room",
          length);
  check(!gcm_seal_data(sealer, packet, whole + MOST_PADDING + 1, 7, data, length),
        "sealed with more padding than its length can say", length);
  check(gcm_seal_data(sealer, packet, whole, 7, data, length), "not sealed", length);
  check(gcm_open(opener, packet, whole) == (int32_t)(GCM_DATA_HEAD + length), "not opened", length);
  check(memcmp(packet + GCM_HEAD + GCM_DATA_HEAD, data, length) == 0, "other data", length);
  free(data);
  free(packet);
}

/*
 * Tries packets that the sealer didn't make, each with a new opener: one that has refused can't go
 * on.
 */
static void refusals(const uint8_t *key, const uint8_t *nonce, size_t length) {
  const size_t whole = shortest(length);
  for (int kind = 0; kind < 2; kind++) {
    struct gcm *sealer = gcm_new(key, 16, nonce, true), *opener = gcm_new(key, 16, nonce, false);
    uint8_t *data = calloc(1, length + 1), *packet = exactly(whole);
    check(sealer != NULL && opener != NULL && data != NULL, "no memory", length);
    check(gcm_seal_data(sealer, packet, whole, 7, data, length), "not sealed", length);
    size_t kept = whole;
    if (kind == 0)
      packet[(size_t)rand() % whole] ^= (uint8_t)(1 << rand() % 8);
    else
      kept = (size_t)rand() % whole;
    uint8_t *got = exactly(kept);
    memcpy(got, packet, kept);
    check(gcm_open(opener, got, kept) == GCM_REFUSED,
          kind == 0 ? "opened with a changed bit" : "opened when cut", length);
    free(got);
    free(packet);
    free(data);
    gcm_free(sealer);
    gcm_free(opener);
  }
}

int main(int argc, char **argv) {
  static const uint8_t key[32] = {1, 2, 3},
                       nonce[GCM_NONCE] = {[4] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf0};
  if (argc != 3 || dlopen("libcrypto.so.3", RTLD_NOW | RTLD_GLOBAL) == NULL) return 2;
  srand((unsigned)atoi(argv[1]));
  const int rounds = atoi(argv[2]);
  for (size_t bytes = 16; bytes <= 32; bytes += 16) {
    struct gcm *sealer = gcm_new(key, bytes, nonce, true),
               *opener = gcm_new(key, bytes, nonce, false);
    check(sealer != NULL && opener != NULL, "no key", bytes);
    for (size_t length = 0; length < 100; length++) round_trip(sealer, opener, length);
    for (int n = 0; n < rounds; n++) round_trip(sealer, opener, (size_t)rand() % LONGEST);
    gcm_free(sealer);
    gcm_free(opener);
  }
  for (int n = 0; n < rounds; n++) refusals(key, nonce, (size_t)rand() % 300);
  check(gcm_new(key, 15, nonce, true) == NULL, "a key of 15 bytes", 15);
  printf("%d packets\n", 2 * (100 + rounds) + 2 * rounds);
  return 0;
}
