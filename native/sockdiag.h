/* sockdiag.h - whose TCP sockets of this network are, many at a time (addon_sockdiag.c). */
#ifndef TUNNEL_SOCKDIAG_H
#define TUNNEL_SOCKDIAG_H

#include <linux/types.h>
#include <stdint.h>

/* The most questions at a time. */
#define SOCKDIAG_MOST 32

/* Two addresses of the same length, 4 or 16, and ports in network order. */
struct sockdiag_question {
  uint8_t address_length, unused;
  __be16 port, peer_port, unused_too;
  uint8_t address[16], peer[16];
};

/*
 * Asks for `count` sockets, each with its own address and that of its peer. `owners` gets two
 * numbers for each, the user and the inode; zeros if there is no such socket. Returns 0, or an
 * errno if the kernel can't tell; then `owners` says nothing. For the main thread.
 */
int sockdiag_owners(const struct sockdiag_question *questions, uint32_t count, uint32_t *owners);

#endif
