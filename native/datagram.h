/*
 * datagram.h - UDP for the program itself, where it carries UDP (engineStart's `datagrams`): datagrams out of frames and back.
 *
 * nat.c knows TCP only and answers all UDP with "port unreachable". With datagrams on, the engine asks datagram_take() first,
 * and what it takes never comes to nat.c. The program answers a datagram with another one in the opposite direction or with
 * an ICMP error. Pure: no state, no system calls.
 */
#ifndef TUNNEL_DATAGRAM_H
#define TUNNEL_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packet.h"

/* The most that fits into an IPv4 packet; longer ones can't come in a frame and aren't sent. */
#define DATAGRAM_MAX_PAYLOAD 65507u

/* 40 bytes, no padding, then the payload: handed to JavaScript as it is. Ports and length in host order. */
struct datagram {
  uint8_t family; /* 4 or 6 */
  uint8_t reserved;
  uint16_t length; /* of the payload */
  uint16_t source_port, destination_port;
  uint8_t source[16], destination[16]; /* IPv4 addresses in the first 4 octets */
};
_Static_assert(sizeof(struct datagram) == 40, "datagram is read by JavaScript with fixed offsets");

/* Takes an answerable unicast UDP datagram out of a frame; `*payload` points into it. False: it is none. */
bool datagram_take(uint8_t *frame, size_t length, struct datagram *datagram, const uint8_t **payload);

/* Writes the frame of a datagram to `out` (NAT_FRAME_CAPACITY bytes); returns its length, 0 if `datagram` is malformed. */
size_t datagram_write(const struct datagram *datagram, const uint8_t *payload, uint8_t *out);

/*
 * Writes the ICMP error that answers a datagram that was taken to `out` (NAT_FRAME_CAPACITY bytes), as from its
 * destination; returns its length, 0 if `datagram` is malformed.
 */
size_t datagram_refuse(const struct datagram *datagram, const uint8_t *payload, enum packet_unreachable why,
                       uint8_t *out);

#endif
