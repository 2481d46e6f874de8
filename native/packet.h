/*
 * packet.h - a checked view of one frame, its rewriting in place, and the answers that the engine makes itself.
 *
 * A frame is a virtio_net_hdr (10 bytes, multi-byte fields in host byte order) and an IPv4 or IPv6 packet.
 * packet_parse() checks every length once; the accessors below work on its view and can't fail. Addresses are 16 octets
 * for both families (IPv4 in the first four, the rest zero, which no Internet checksum notices), so that there is one
 * copy of the logic. Nothing here keeps state.
 */
#ifndef TUNNEL_PACKET_H
#define TUNNEL_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PACKET_TCP_FIN 0x01u
#define PACKET_TCP_SYN 0x02u
#define PACKET_TCP_RST 0x04u
#define PACKET_TCP_ACK 0x10u

enum packet_kind {
  PACKET_MALFORMED,  /* too short, wrong version, lengths that disagree; the view has no meaning */
  PACKET_FRAGMENT,   /* likewise: there may be no transport header */
  PACKET_TCP,        /* TCP straight behind the IP header; only this kind is ever rewritten */
  PACKET_UDP,
  PACKET_UNANSWERABLE, /* ICMP and ICMPv6 other than requests: RFC 1122 3.2.2, RFC 4443 2.4 (e) */
  PACKET_OTHER,
};

struct packet {
  uint8_t *frame;        /* the virtio header */
  uint8_t *ip;
  size_t length;         /* of the IP packet, by its own header; what was captured behind it is padding */
  size_t transport;      /* offset of the transport header in the IP packet */
  uint8_t family;        /* 4 or 6 */
  uint8_t protocol;      /* of the transport header */
  bool partial_checksum; /* VIRTIO_NET_HDR_F_NEEDS_CSUM: the TCP checksum field holds the sum of the pseudo-header */
};

struct packet_tuple {
  uint8_t source[16], destination[16];
  uint16_t source_port, destination_port; /* host order */
  uint8_t family;
};

/* Codes of "destination unreachable" (ICMP type 3, ICMPv6 type 1); see the table in packet.c. */
enum packet_unreachable { PACKET_NO_HOST, PACKET_NO_NETWORK, PACKET_PROHIBITED, PACKET_NO_PORT };

/* Fills `view`. Reads no byte beyond frame + length. */
enum packet_kind packet_parse(struct packet *view, uint8_t *frame, size_t length);

/* Addresses; for PACKET_TCP the ports too, else they are 0. */
void packet_get_tuple(const struct packet *view, struct packet_tuple *tuple);

/* Of a PACKET_TCP. The segment's length counts SYN and FIN (RFC 9293 3.4). */
uint8_t packet_tcp_flags(const struct packet *view);
uint32_t packet_tcp_sequence(const struct packet *view);
uint32_t packet_tcp_segment_length(const struct packet *view);

/* Of a PACKET_UDP: fills `tuple` with its ports too; returns its payload, which lies in the frame. */
const uint8_t *packet_udp(const struct packet *view, struct packet_tuple *tuple, size_t *length);

/* Gives a PACKET_TCP other addresses and ports of the same family. `from` is what packet_get_tuple() gave. */
void packet_rewrite(const struct packet *view, const struct packet_tuple *from, const struct packet_tuple *to);

/* Does this address stand for one host that may be spoken to, or speak? */
bool packet_address_is_multicast(const uint8_t address[16], uint8_t family); /* and limited broadcast */
bool packet_address_is_special(const uint8_t address[16], uint8_t family);   /* unspecified, loopback, IPv4-mapped */

/*
 * Write the whole answer, a zeroed virtio header included, to `out` (NAT_ANSWER_CAPACITY bytes), which may be the
 * view's own frame. Both return the answer's length.
 */
size_t packet_reset(const struct packet *view, uint8_t *out);
size_t packet_unreachable(const struct packet *view, enum packet_unreachable why, const uint8_t source[16],
                          uint8_t *out);

/* Writes a whole frame with a UDP datagram of at most 65507 bytes to `out` (NAT_FRAME_CAPACITY bytes); returns its length. */
size_t packet_write_udp(const struct packet_tuple *tuple, const uint8_t *payload, size_t length, uint8_t *out);

/* RFC 1071: adds `length` bytes to a sum that starts at 0. The result is in the machine's own byte order. */
uint64_t packet_sum(uint64_t sum, const uint8_t *bytes, size_t length);
uint16_t packet_fold(uint64_t sum);

static inline uint16_t packet_get16(const uint8_t *from) { return (uint16_t)((unsigned)from[0] << 8 | from[1]); }

static inline uint32_t packet_get32(const uint8_t *from) {
  return (uint32_t)packet_get16(from) << 16 | packet_get16(from + 2);
}

static inline void packet_put16(uint8_t *to, uint16_t value) {
  to[0] = (uint8_t)(value >> 8);
  to[1] = (uint8_t)value;
}

static inline void packet_put32(uint8_t *to, uint32_t value) {
  packet_put16(to, (uint16_t)(value >> 16));
  packet_put16(to + 2, (uint16_t)value);
}

#endif
