/*
 * gcm.h - SSH packets with AES-GCM (RFC 5647 section 7, as aes128-gcm@openssh.com and
 * aes256-gcm@openssh.com have it), sealed and opened where they lie:
 *
 *   length (4) | padding length (1) | payload | padding (4 to 19) | tag (16)
 *   in clear   `--- encrypted, a multiple of 16: `length` bytes --'
 *
 * Each direction has a key and a nonce that counts packets. All memory is the caller's.
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
  GCM_DATA_HEAD =
      9, /* of SSH_MSG_CHANNEL_DATA: message, channel, length of the data (RFC 4254 section 5.2) */
  GCM_REFUSED = -1 /* not authentic, or padded in a way that RFC 4253 section 6 forbids */
};

struct gcm;

/* One direction. `key` has 16 or 32 bytes. NULL with errno: ENOSYS (this Node has no OpenSSL),
 * ENOMEM, EINVAL (the key). */
struct gcm *gcm_new(const uint8_t *key, size_t key_length, const uint8_t nonce[GCM_NONCE],
                    bool seals);
void gcm_free(struct gcm *gcm);

/* Seals a packet of `length` bytes in all, of which the last 16 get the tag. False: it is too
 * short, or OpenSSL failed. */
bool gcm_seal(struct gcm *gcm, uint8_t *packet, size_t length);

/* Lays a packet with channel data out, of `length` bytes in all, and seals it: what the data leave
 * is random padding. False: as gcm_seal, or the padding would be one that RFC 4253 section 6
 * forbids. */
bool gcm_seal_data(struct gcm *gcm, uint8_t *packet, size_t length, uint32_t channel,
                   const uint8_t *data, size_t data_length);

/* Opens a packet of `length` bytes in all. Returns the length of its payload, or GCM_REFUSED. */
int32_t gcm_open(struct gcm *gcm, uint8_t *packet, size_t length);

#endif
