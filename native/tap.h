/*
 * tap.h - writes the packets of a device into memory, as blocks of pcapng (Enhanced Packet Block,
 * draft-ietf-opsawg-pcapng). The file's other blocks are written by src/record/pcapng.ts.
 *
 * A frame comes as for device.h: a struct virtio_net_hdr and an IP packet. It becomes one record,
 * also if it is larger than the path's packets (GSO). Without `whole` only its headers are kept: of
 * TCP with its options, of UDP without what it carries (DNS), of an ICMP error the headers of the
 * packet that it quotes. The record says how long the packet was.
 *
 * A packet that this machine made has no checksum yet (VIRTIO_NET_HDR_F_NEEDS_CSUM). It is
 * completed in the record if that has the whole packet, and otherwise marked as "not ready".
 */
#ifndef TUNNEL_TAP_H
#define TUNNEL_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Two bits of epb_flags: as seen from the machine. */
enum tap_direction { TAP_INBOUND = 1, TAP_OUTBOUND = 2 };

struct tap {
  uint8_t *memory; /* NULL: nothing is recorded */
  size_t capacity;
  size_t used;
  bool whole;
};

/*
 * Appends a record of the frame. The first part contains all its headers. False: it doesn't fit,
 * and nothing has been written.
 */
bool tap_record(struct tap *tap, const struct iovec *parts, int count,
                enum tap_direction direction);

#endif
