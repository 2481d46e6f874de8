/* lease.c - our own side of one family; see lease.h. */
#include "lease.h"

#include "nat.h"

struct lease_side lease_side(uint8_t family, const uint8_t *listen, const uint8_t *peer, uint16_t listen_port) {
  size_t length = family == 4 ? 4 : 16;
  struct lease_side side = {.listen_port = listen_port, .last_octet = (uint8_t)(length - 1), .family = family};
  memcpy(side.listen, listen, length);
  memcpy(side.peer, peer, length);
  return side;
}

uint32_t lease_addressed_peer(const struct lease_side *side, const struct packet_tuple *tuple) {
  if (side->listen_port == 0 || tuple->source_port != side->listen_port) return NAT_PEERS;
  if (memcmp(tuple->source, side->listen, 16) != 0) return NAT_PEERS;
  if (memcmp(tuple->destination, side->peer, side->last_octet) != 0) return NAT_PEERS;
  uint8_t peer = (uint8_t)(tuple->destination[side->last_octet] - side->peer[side->last_octet]);
  return peer < NAT_PEERS ? peer : NAT_PEERS;
}

struct packet_tuple lease_tuple(const struct lease_side *side, uint32_t peer, uint16_t port) {
  struct packet_tuple tuple = {.source_port = port, .destination_port = side->listen_port, .family = side->family};
  memcpy(tuple.source, side->peer, 16);
  memcpy(tuple.destination, side->listen, 16);
  tuple.source[side->last_octet] = (uint8_t)(tuple.source[side->last_octet] + peer);
  return tuple;
}
