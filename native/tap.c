/* tap.c - records of packets; see tap.h. */
#include "tap.h"

#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

enum {
  VNET_BYTES = sizeof(struct virtio_net_hdr),
  IPV4_BYTES = 20,
  IPV6_BYTES = 40,
  TCP_BYTES = 20,
  UDP_BYTES = 8,
  UDP_CHECKSUM = 6, /* where the checksum is in its header */
  ICMP_BYTES = 8,
  QUOTED_TRANSPORT = 8,
  MAX_EXTENSIONS = 8,

  BLOCK_EPB = 6,
  EPB_HEAD = 28,
  EPB_TAIL = 16, /* epb_flags, the end of options, the length again */
  OPTION_FLAGS = 2,
  FLAG_CHECKSUM_NOT_READY = 1 << 9,
  FLAG_SEGMENTATION = 1 << 11
};

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/*
 * How far the IP header reaches with its extensions. *protocol is what follows; -1: nothing that
 * can be read.
 */
static size_t ip_header(const uint8_t *packet, size_t length, int *protocol) {
  *protocol = -1;
  if (length < IPV4_BYTES) return length;
  if (packet[0] >> 4 == 4) {
    const size_t header = (size_t)(packet[0] & 15) * 4;
    if (header < IPV4_BYTES || header > length) return IPV4_BYTES;
    if (((packet[6] & 0x1f) | packet[7]) == 0) *protocol = packet[9];
    return header;
  }
  if (packet[0] >> 4 != 6 || length < IPV6_BYTES) return IPV4_BYTES;
  size_t at = IPV6_BYTES;
  int next = packet[6];
  for (int i = 0; i < MAX_EXTENSIONS; i++) {
    const bool fragment = next == IPPROTO_FRAGMENT;
    if (!fragment && next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING &&
        next != IPPROTO_DSTOPTS) {
      *protocol = next;
      return at;
    }
    if (length - at < 8) return at;
    const size_t size = fragment ? 8 : ((size_t)packet[at + 1] + 1) * 8;
    if (size > length - at) return at;
    const bool later = fragment && (packet[at + 2] | (packet[at + 3] & 0xf8)) != 0;
    next = packet[at];
    at += size;
    if (later) return at;
  }
  return at;
}

static bool quotes(int protocol, uint8_t type) {
  if (protocol == IPPROTO_ICMPV6) return type >= 1 && type <= 4;
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

/* How many of the packet's first `length` bytes are headers. */
static size_t headers(const uint8_t *packet, size_t length) {
  int protocol;
  const size_t at = ip_header(packet, length, &protocol);
  const size_t left = length - at;

  if (protocol == IPPROTO_TCP && left >= TCP_BYTES)
    return at + least(left, (size_t)(packet[at + 12] >> 4) * 4);
  if (protocol == IPPROTO_UDP) return at + least(left, UDP_BYTES);
  if ((protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) && left >= ICMP_BYTES) {
    const size_t quoted = at + ICMP_BYTES;
    if (!quotes(protocol, packet[at]) || quoted == length) return quoted;
    int inner;
    const size_t ip = ip_header(packet + quoted, length - quoted, &inner);
    return quoted + least(length - quoted, ip + (inner < 0 ? 0 : QUOTED_TRANSPORT));
  }
  return at;
}

/* Adds what is missing to the checksum (RFC 1071). The field holds the pseudo-header's sum. */
static bool complete_checksum(const struct virtio_net_hdr *header, uint8_t *packet, size_t length) {
  const size_t start = header->csum_start, field = start + header->csum_offset;
  uint64_t sum = 0;
  size_t at = start;

  if (field + 2 > length) return false;
  for (; at + 4 <= length; at += 4) {
    uint32_t word;
    memcpy(&word, packet + at, sizeof word);
    sum += word;
  }
  if (at < length) {
    uint32_t word = 0;
    memcpy(&word, packet + at, length - at);
    sum += word;
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  uint16_t checksum = (uint16_t)~sum;
  /* In UDP a zero would mean "none" (RFC 768); in TCP it is a checksum like any other. */
  if (checksum == 0 && header->csum_offset == UDP_CHECKSUM) checksum = 0xffff;
  memcpy(packet + field, &checksum, sizeof checksum);
  return true;
}

static void put32(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof value); }

bool tap_record(struct tap *tap, const struct iovec *parts, int count,
                enum tap_direction direction) {
  struct virtio_net_hdr header;
  struct timespec now;
  size_t total = 0;

  if (parts[0].iov_len <= VNET_BYTES) return true; /* no packet */
  memcpy(&header, parts[0].iov_base, sizeof header);
  const uint8_t *first = (const uint8_t *)parts[0].iov_base + VNET_BYTES;
  const size_t first_length = parts[0].iov_len - VNET_BYTES;
  for (int i = 0; i < count; i++) total += parts[i].iov_len;
  total -= VNET_BYTES;

  const size_t kept = tap->whole ? total : headers(first, first_length);
  const size_t padded = (kept + 3) & ~(size_t)3;
  const size_t length = EPB_HEAD + padded + EPB_TAIL;
  if (length > tap->capacity - tap->used) return false;

  uint8_t *record = tap->memory + tap->used, *packet = record + EPB_HEAD;
  size_t at = least(kept, first_length);
  memcpy(packet, first, at);
  for (int i = 1; i < count && at < kept; i++) {
    const size_t part = least(kept - at, parts[i].iov_len);
    memcpy(packet + at, parts[i].iov_base, part);
    at += part;
  }
  memset(packet + kept, 0, padded - kept);

  uint32_t flags = direction;
  if ((header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0 &&
      (kept < total || !complete_checksum(&header, packet, kept)))
    flags |= FLAG_CHECKSUM_NOT_READY;
  if (header.gso_type != VIRTIO_NET_HDR_GSO_NONE) flags |= FLAG_SEGMENTATION;

  clock_gettime(CLOCK_REALTIME, &now);
  const uint64_t time = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  put32(record, BLOCK_EPB);
  put32(record + 4, (uint32_t)length);
  put32(record + 8, 0); /* the interface */
  put32(record + 12, (uint32_t)(time >> 32));
  put32(record + 16, (uint32_t)time);
  put32(record + 20, (uint32_t)kept);
  put32(record + 24, (uint32_t)total);
  uint8_t *options = packet + padded;
  const uint16_t option[2] = {OPTION_FLAGS, sizeof flags};
  memcpy(options, option, sizeof option);
  put32(options + 4, flags);
  put32(options + 8, 0);
  put32(options + 12, (uint32_t)length);
  tap->used += length;
  return true;
}
