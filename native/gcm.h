/*
 * gcm.h - seals and opens SSH packets with AES-GCM in place (RFC 5647 section 7, as in
 * aes128-gcm@openssh.com and aes256-gcm@openssh.com):
 *
 *   length (4) | padding length (1) | payload | padding (4 to 19) | tag (16)
 *   clear      `--- encrypted, a multiple of 16: `length` bytes --'
 *
 * Each direction has a key, and a nonce that counts packets. The caller owns all memory for
 * packets.
 */
#ifndef TUNNEL_GCM_H
#define TUNNEL_GCM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  GCM_NONCE = 12,
  GCM_LENGTH = 4,
  GCM_HEAD = 5, /* where the payload begins */
  GCM_TAG = 16,
  /* of SSH_MSG_CHANNEL_DATA: message, channel, length of the data (RFC 4254 section 5.2) */
  GCM_DATA_HEAD = 9,
  GCM_REFUSED = -1 /* not authentic, or with padding that RFC 4253 section 6 forbids */
};

struct gcm;

/*
 * Makes one direction. `key` has 16 or 32 bytes. NULL with errno: ENOSYS (this Node has no
 * OpenSSL), ENOMEM, EINVAL (the key's length).
 */
struct gcm *gcm_new(const uint8_t *key, size_t key_length, const uint8_t nonce[GCM_NONCE],
                    bool seals);
void gcm_free(struct gcm *gcm);

/*
 * Seals a packet of `length` bytes in total; the last 16 get the tag. False: it is too short, or
 * OpenSSL failed.
 */
bool gcm_seal(struct gcm *gcm, uint8_t *packet, size_t length);

/*
 * Builds a packet with channel data, of `length` bytes in total, and seals it. The bytes that the
 * data leave are random padding. False: like gcm_seal, or RFC 4253 section 6 forbids such padding.
 */
bool gcm_seal_data(struct gcm *gcm, uint8_t *packet, size_t length, uint32_t channel,
                   const uint8_t *data, size_t data_length);

/* Opens a packet of `length` bytes in total. Returns the length of its payload, or GCM_REFUSED. */
int32_t gcm_open(struct gcm *gcm, uint8_t *packet, size_t length);

#endif
