/*
 * lease.h - our own side of one family: the listener, the peers that the leases belong to, and what a leased flow looks
 * like from there.
 */
#ifndef TUNNEL_LEASE_H
#define TUNNEL_LEASE_H

#include "packet.h"

struct lease_side {
  uint8_t listen[16], peer[16];
  uint16_t listen_port; /* 0: the family is not captured */
  uint8_t last_octet;   /* its index: there the peers differ */
  uint8_t family;
};

/* The addresses are 4 or 16 octets, as the family says. */
struct lease_side lease_side(uint8_t family, const uint8_t *listen, const uint8_t *peer, uint16_t listen_port);

/* The index of the peer that the listener speaks to; NAT_PEERS when the packet isn't from the listener to a peer. */
uint32_t lease_addressed_peer(const struct lease_side *side, const struct packet_tuple *tuple);

/* A leased flow as the listener sees it: from its peer to itself. */
struct packet_tuple lease_tuple(const struct lease_side *side, uint32_t peer, uint16_t port);

#endif
