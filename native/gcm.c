/* gcm.c - seals and opens SSH packets with AES-GCM; see gcm.h. */
#include "gcm.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "openssl.h"

enum { BLOCK = 16, LEAST_PADDING = 4, MOST_PADDING = 255 };
enum { CHANNEL_DATA = 94, FIXED_NONCE = 4, RANDOM = 4096 };

struct gcm {
  const struct openssl *ssl;
  EVP_CIPHER_CTX *ctx;
  bool seals;
  uint8_t nonce[GCM_NONCE];
  uint8_t random[RANDOM]; /* for padding, drawn in bulk */
  size_t random_used;
};

struct gcm *gcm_new(const uint8_t *key, size_t key_length, const uint8_t nonce[GCM_NONCE],
                    bool seals) {
  const struct openssl *ssl = openssl_find();
  if (ssl == NULL || (key_length != 16 && key_length != 32)) {
    errno = ssl == NULL ? ENOSYS : EINVAL;
    return NULL;
  }
  struct gcm *gcm = calloc(1, sizeof *gcm);
  if (gcm == NULL) return NULL;
  *gcm =
      (struct gcm){.ssl = ssl, .ctx = ssl->cipher_ctx_new(), .seals = seals, .random_used = RANDOM};
  memcpy(gcm->nonce, nonce, GCM_NONCE);
  const EVP_CIPHER *cipher = key_length == 16 ? ssl->aes_128_gcm() : ssl->aes_256_gcm();
  if (gcm->ctx != NULL && ssl->cipher_init(gcm->ctx, cipher, NULL, key, nonce, seals) == 1)
    return gcm;
  gcm_free(gcm);
  errno = ENOMEM;
  return NULL;
}

void gcm_free(struct gcm *gcm) {
  if (gcm == NULL) return;
  gcm->ssl->cipher_ctx_free(gcm->ctx); /* also wipes the key */
  free(gcm);
}

/* RFC 5647 section 7.1: four fixed bytes, and a counter of eight, most significant byte first. */
static void next_nonce(struct gcm *gcm) {
  for (int at = GCM_NONCE - 1; at >= FIXED_NONCE && ++gcm->nonce[at] == 0; at--) continue;
}

/*
 * Encrypts or decrypts in place: the length is authenticated, the bytes between it and the tag are
 * encrypted.
 */
static bool transform(struct gcm *gcm, uint8_t *packet, size_t length) {
  const struct openssl *ssl = gcm->ssl;
  EVP_CIPHER_CTX *ctx = gcm->ctx;
  const int text = (int)(length - GCM_LENGTH - GCM_TAG);
  uint8_t *const tag = packet + length - GCM_TAG;
  int done;

  const bool good =
      ssl->cipher_init(ctx, NULL, NULL, NULL, gcm->nonce, gcm->seals) == 1 &&
      (gcm->seals || ssl->cipher_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, GCM_TAG, tag) == 1) &&
      ssl->cipher_update(ctx, NULL, &done, packet, GCM_LENGTH) == 1 && done == GCM_LENGTH &&
      ssl->cipher_update(ctx, packet + GCM_LENGTH, &done, packet + GCM_LENGTH, text) == 1 &&
      done == text && ssl->cipher_final(ctx, tag, &done) == 1 && done == 0 &&
      (!gcm->seals || ssl->cipher_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, GCM_TAG, tag) == 1);
  next_nonce(gcm);
  return good;
}

static bool is_packet(size_t length) {
  return length >= GCM_LENGTH + BLOCK + GCM_TAG && length <= INT_MAX;
}

bool gcm_seal(struct gcm *gcm, uint8_t *packet, size_t length) {
  return gcm->seals && is_packet(length) && transform(gcm, packet, length);
}

static void put32(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static bool pad(struct gcm *gcm, uint8_t *at, size_t bytes) {
  if (gcm->random_used + bytes > RANDOM) {
    if (gcm->ssl->rand_bytes(gcm->random, RANDOM) != 1) return false;
    gcm->random_used = 0;
  }
  memcpy(at, gcm->random + gcm->random_used, bytes);
  gcm->random_used += bytes;
  return true;
}

bool gcm_seal_data(struct gcm *gcm, uint8_t *packet, size_t length, uint32_t channel,
                   const uint8_t *data, size_t data_length) {
  const size_t around = GCM_HEAD + GCM_DATA_HEAD + GCM_TAG;
  if (!is_packet(length) || (length - GCM_LENGTH - GCM_TAG) % BLOCK != 0) return false;
  if (data_length > length || length - data_length < around + LEAST_PADDING) return false;
  const size_t payload = GCM_DATA_HEAD + data_length;
  const size_t padding = length - data_length - around;
  if (padding > MOST_PADDING) return false;

  put32(packet, (uint32_t)(length - GCM_LENGTH - GCM_TAG));
  packet[GCM_LENGTH] = (uint8_t)padding;
  packet[GCM_HEAD] = CHANNEL_DATA;
  put32(packet + GCM_HEAD + 1, channel);
  put32(packet + GCM_HEAD + 5, (uint32_t)data_length);
  /* Empty data may have no address, which memcpy(3) must not get. */
  if (data_length > 0) memcpy(packet + GCM_HEAD + GCM_DATA_HEAD, data, data_length);
  return pad(gcm, packet + GCM_HEAD + payload, padding) && gcm_seal(gcm, packet, length);
}

int32_t gcm_open(struct gcm *gcm, uint8_t *packet, size_t length) {
  if (gcm->seals || !is_packet(length) || !transform(gcm, packet, length)) return GCM_REFUSED;
  const size_t text = length - GCM_LENGTH - GCM_TAG;
  const size_t padding = packet[GCM_LENGTH];
  return padding < LEAST_PADDING || 1 + padding > text ? GCM_REFUSED
                                                       : (int32_t)(text - 1 - padding);
}
