/*
 * gcm_fuzzer.c - sealed packets: any octets are refused; what was sealed opens again, and not
 * when a bit of it has changed.
 *
 * Input: the kind, two octets for a place, then the packet or the data.
 */
#include "gcm.h"

#include <dlfcn.h>

#include "fuzz/check.h"
#include "fuzz/input.h"

enum { BLOCK = 16, LEAST_PADDING = 4 };

static const uint8_t key[32] = {1, 2, 3}, nonce[GCM_NONCE] = {4, 5, 6};

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  CHECK(dlopen("libcrypto.so.3", RTLD_NOW | RTLD_GLOBAL) != NULL);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {.at = data, .left = size};
  const uint8_t kind = input_u8(&input);
  const size_t place = input_u16(&input), length = input.left;
  const size_t text = 1 + GCM_DATA_HEAD + length + LEAST_PADDING;
  const size_t whole = GCM_LENGTH + (text + BLOCK - 1) / BLOCK * BLOCK + GCM_TAG;
  const size_t key_length = (kind & 1) != 0 ? 16 : 32;
  struct gcm *sealer = gcm_new(key, key_length, nonce, true);
  struct gcm *opener = gcm_new(key, key_length, nonce, false);
  CHECK(sealer != NULL && opener != NULL);
  const size_t room = (kind & 2) != 0 ? length : (kind & 4) != 0 ? place % 1024 : whole;
  uint8_t *packet = malloc(room + 1), *payload = malloc(length + 1);
  CHECK(packet != NULL && payload != NULL);
  ASAN_POISON_MEMORY_REGION(packet + room, 1);
  (void)input_take(&input, payload, length);
  if ((kind & 2) != 0) { /* nobody has sealed it */
    memcpy(packet, payload, length);
    CHECK(gcm_open(opener, packet, room) == GCM_REFUSED);
  } else if (gcm_seal_data(sealer, packet, room, 7, payload, length)) {
    if ((kind & 8) != 0) packet[place % room] ^= (uint8_t)(1u << (kind >> 5));
    const int32_t opened = gcm_open(opener, packet, room);
    CHECK(opened == ((kind & 8) != 0 ? GCM_REFUSED : (int32_t)(GCM_DATA_HEAD + length)));
    if (opened >= 0) CHECK(memcmp(packet + GCM_HEAD + GCM_DATA_HEAD, payload, length) == 0);
  } else {
    CHECK(room != whole);
  }
  ASAN_UNPOISON_MEMORY_REGION(packet + room, 1);
  free(packet);
  free(payload);
  gcm_free(sealer);
  gcm_free(opener);
  return 0;
}
