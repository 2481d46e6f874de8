/*
 * packet.c - parsing, rewriting and answering; see packet.h.
 *
 * Checksums are not verified: the kernel that hands us a frame has computed or verified them, and a rewrite is
 * incremental (RFC 1624), so that a wrong one stays wrong and the receiving kernel drops it. One's complement sums
 * don't depend on the byte order of the machine as long as they are loaded and stored in the same one (RFC 1071 2 (B)).
 *
 * IPv6 extension headers are walked to find out what a packet is, but TCP is carried only straight behind the fixed
 * header: a routing header or a home address option puts another address into the pseudo-header than the one that is
 * rewritten, and no ordinary connection has either. TCP behind extension headers is PACKET_OTHER.
 */
#include "packet.h"

#include "nat.h"

#define IPV4_HEADER 20u
#define IPV6_HEADER 40u
#define TCP_HEADER 20u
#define UDP_HEADER 8u
#define ICMP_HEADER 8u
#define IPV6_MAX_EXTENSIONS 8u /* more of them in one packet are an attack on who parses it */

#define ANSWER_HOPS 64u
#define ICMP4_ANSWER_MAX 576u  /* RFC 1812 4.3.2.3 */
#define ICMP6_ANSWER_MAX 1280u /* RFC 4443 2.4 (c) */

enum { VNET_FLAGS = 0, VNET_CSUM_START = 6, VNET_CSUM_OFFSET = 8, VNET_NEEDS_CSUM = 1 };
enum { TCP_SEQUENCE = 4, TCP_ACKNOWLEDGEMENT = 8, TCP_OFFSET = 12, TCP_FLAGS = 13, TCP_CHECKSUM = 16 };
enum { UDP_LENGTH = 4, UDP_CHECKSUM = 6 };
enum { ICMP4 = 1, TCP = 6, UDP = 17, ICMP6 = 58 };
enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION_OPTIONS = 60 };

/* -- Checksums ------------------------------------------------------------------------------------------------ */

static uint64_t add(uint64_t sum, uint64_t word) {
  sum += word;
  return sum + (sum < word);
}

uint64_t packet_sum(uint64_t sum, const uint8_t *bytes, size_t length) {
  uint64_t word;
  for (; length >= sizeof word; bytes += sizeof word, length -= sizeof word) {
    memcpy(&word, bytes, sizeof word);
    sum = add(sum, word);
  }
  if (length > 0) {
    word = 0;
    memcpy(&word, bytes, length);
    sum = add(sum, word);
  }
  return sum;
}

uint16_t packet_fold(uint64_t sum) {
  sum = (sum >> 32) + (sum & 0xffffffffu);
  sum = (sum >> 16) + (sum & 0xffffu);
  sum = (sum >> 16) + (sum & 0xffffu);
  sum = (sum >> 16) + (sum & 0xffffu);
  return (uint16_t)sum;
}

static uint16_t load16(const uint8_t *from) {
  uint16_t value;
  memcpy(&value, from, sizeof value);
  return value;
}

static void store16(uint8_t *to, uint16_t value) { memcpy(to, &value, sizeof value); }

/* RFC 1624, equation 3: the sum of ~m + m' over all words that change ... */
static uint16_t change_of(uint64_t from, uint64_t to) {
  return packet_fold((uint64_t)(uint16_t)~packet_fold(from) + packet_fold(to));
}

/* ... and its use. */
static void adjust_checksum(uint8_t *field, uint16_t change) {
  store16(field, (uint16_t)~packet_fold((uint64_t)(uint16_t)~load16(field) + change));
}

static void finish_checksum(uint8_t *field, uint64_t sum) { store16(field, (uint16_t)~packet_fold(sum)); }

static uint64_t sum_addresses(const struct packet_tuple *tuple) {
  return packet_sum(packet_sum(0, tuple->source, 16), tuple->destination, 16);
}

static uint64_t sum_ports(const struct packet_tuple *tuple) {
  uint8_t ports[4];
  packet_put16(ports, tuple->source_port);
  packet_put16(ports + 2, tuple->destination_port);
  return packet_sum(0, ports, sizeof ports);
}

static uint64_t sum_pseudo_header(const struct packet_tuple *tuple, uint8_t protocol, size_t length) {
  uint8_t rest[8];
  packet_put32(rest, (uint32_t)length);
  packet_put32(rest + 4, protocol);
  return packet_sum(sum_addresses(tuple), rest, sizeof rest);
}

/* -- Parsing -------------------------------------------------------------------------------------------------- */

static uint16_t vnet_field(const struct packet *view, size_t offset) { return load16(view->frame + offset); }

static enum packet_kind parse_tcp(struct packet *view, size_t available) {
  if (available < TCP_HEADER) return PACKET_MALFORMED;
  size_t header = (size_t)(view->ip[view->transport + TCP_OFFSET] >> 4) * 4;
  if (header < TCP_HEADER || header > available) return PACKET_MALFORMED;
  view->partial_checksum = (view->frame[VNET_FLAGS] & VNET_NEEDS_CSUM) != 0;
  if (view->partial_checksum && (vnet_field(view, VNET_CSUM_START) != view->transport ||
                                 vnet_field(view, VNET_CSUM_OFFSET) != TCP_CHECKSUM)) {
    return PACKET_MALFORMED;
  }
  return PACKET_TCP;
}

static enum packet_kind parse_udp(const struct packet *view, size_t available) {
  if (available < UDP_HEADER) return PACKET_MALFORMED;
  size_t length = packet_get16(view->ip + view->transport + UDP_LENGTH);
  return length < UDP_HEADER || length > available ? PACKET_MALFORMED : PACKET_UDP;
}

/* Only requests are answered: errors must not be, and nobody waits for an answer to the rest. */
static enum packet_kind parse_icmp(const struct packet *view, size_t available) {
  if (available < ICMP_HEADER) return PACKET_MALFORMED;
  uint8_t type = view->ip[view->transport];
  if (view->family == 6) return type == 128 ? PACKET_OTHER : PACKET_UNANSWERABLE;
  /* echo, timestamp, information, address mask */
  return type == 8 || type == 13 || type == 15 || type == 17 ? PACKET_OTHER : PACKET_UNANSWERABLE;
}

static enum packet_kind parse_transport(struct packet *view) {
  size_t available = view->length - view->transport;
  if (view->protocol == TCP) return parse_tcp(view, available);
  if (view->protocol == UDP) return parse_udp(view, available);
  if (view->protocol == (view->family == 4 ? ICMP4 : ICMP6)) return parse_icmp(view, available);
  return PACKET_OTHER;
}

static enum packet_kind parse4(struct packet *view, size_t captured) {
  if (captured < IPV4_HEADER) return PACKET_MALFORMED;
  size_t header = (size_t)(view->ip[0] & 15) * 4;
  size_t total = packet_get16(view->ip + 2);
  if (header < IPV4_HEADER || total < header || total > captured) return PACKET_MALFORMED;
  view->length = total;
  view->transport = header;
  view->protocol = view->ip[9];
  if ((packet_get16(view->ip + 6) & 0x3fffu) != 0) return PACKET_FRAGMENT; /* more fragments, or an offset */
  return parse_transport(view);
}

static bool is_extension(uint8_t protocol) {
  return protocol == HOP_BY_HOP || protocol == ROUTING || protocol == DESTINATION_OPTIONS;
}

static enum packet_kind parse6(struct packet *view, size_t captured) {
  if (captured < IPV6_HEADER) return PACKET_MALFORMED;
  view->length = IPV6_HEADER + packet_get16(view->ip + 4);
  if (view->length > captured) return PACKET_MALFORMED;
  view->transport = IPV6_HEADER;
  view->protocol = view->ip[6];
  for (unsigned extensions = 0;; extensions++) {
    bool fragment = view->protocol == FRAGMENT;
    if (!fragment && !is_extension(view->protocol)) {
      enum packet_kind kind = parse_transport(view);
      return kind == PACKET_TCP && extensions > 0 ? PACKET_OTHER : kind;
    }
    const uint8_t *extension = view->ip + view->transport;
    if (view->length - view->transport < 8) return PACKET_MALFORMED;
    if (fragment) return PACKET_FRAGMENT;
    size_t length = ((size_t)extension[1] + 1) * 8;
    if (length > view->length - view->transport || extensions == IPV6_MAX_EXTENSIONS) return PACKET_MALFORMED;
    view->protocol = extension[0];
    view->transport += length;
  }
}

enum packet_kind packet_parse(struct packet *view, uint8_t *frame, size_t length) {
  if (length <= NAT_VNET_HDR_LEN) return PACKET_MALFORMED;
  *view = (struct packet){.frame = frame, .ip = frame + NAT_VNET_HDR_LEN};
  view->family = view->ip[0] >> 4;
  if (view->family == 4) return parse4(view, length - NAT_VNET_HDR_LEN);
  if (view->family == 6) return parse6(view, length - NAT_VNET_HDR_LEN);
  return PACKET_MALFORMED;
}

/* -- Accessors ------------------------------------------------------------------------------------------------ */

static size_t address_length(uint8_t family) { return family == 4 ? 4 : 16; }
static uint8_t *source_field(const struct packet *view) { return view->ip + (view->family == 4 ? 12 : 8); }
static uint8_t *destination_field(const struct packet *view) { return view->ip + (view->family == 4 ? 16 : 24); }
static uint8_t *transport_header(const struct packet *view) { return view->ip + view->transport; }

static bool is_carried_tcp(const struct packet *view) {
  return view->protocol == TCP && (view->family == 4 || view->transport == IPV6_HEADER);
}

void packet_get_tuple(const struct packet *view, struct packet_tuple *tuple) {
  *tuple = (struct packet_tuple){.family = view->family};
  memcpy(tuple->source, source_field(view), address_length(view->family));
  memcpy(tuple->destination, destination_field(view), address_length(view->family));
  if (is_carried_tcp(view)) {
    tuple->source_port = packet_get16(transport_header(view));
    tuple->destination_port = packet_get16(transport_header(view) + 2);
  }
}

uint8_t packet_tcp_flags(const struct packet *view) { return transport_header(view)[TCP_FLAGS]; }

uint32_t packet_tcp_sequence(const struct packet *view) { return packet_get32(transport_header(view) + TCP_SEQUENCE); }

uint32_t packet_tcp_segment_length(const struct packet *view) {
  size_t header = (size_t)(transport_header(view)[TCP_OFFSET] >> 4) * 4;
  uint8_t flags = packet_tcp_flags(view);
  return (uint32_t)(view->length - view->transport - header) + ((flags & PACKET_TCP_SYN) != 0) +
         ((flags & PACKET_TCP_FIN) != 0);
}

const uint8_t *packet_udp(const struct packet *view, struct packet_tuple *tuple, size_t *length) {
  const uint8_t *udp = transport_header(view);
  packet_get_tuple(view, tuple);
  tuple->source_port = packet_get16(udp);
  tuple->destination_port = packet_get16(udp + 2);
  *length = (size_t)packet_get16(udp + UDP_LENGTH) - UDP_HEADER;
  return udp + UDP_HEADER;
}

bool packet_address_is_multicast(const uint8_t address[16], uint8_t family) {
  static const uint8_t limited_broadcast[4] = {255, 255, 255, 255};
  if (family == 6) return address[0] == 0xff;
  return address[0] >> 4 == 14 || memcmp(address, limited_broadcast, sizeof limited_broadcast) == 0;
}

/* RFC 1122 3.2.2, RFC 4443 2.4 (e.6). The rest of class E is unicast to Linux, so it is here too. */
bool packet_address_is_special(const uint8_t address[16], uint8_t family) {
  static const uint8_t zeros[15], mapped[12] = {[10] = 0xff, [11] = 0xff};
  if (family == 4) return address[0] == 0 || address[0] == 127;
  return (memcmp(address, zeros, 15) == 0 && address[15] <= 1) || memcmp(address, mapped, sizeof mapped) == 0;
}

/* -- Rewriting ------------------------------------------------------------------------------------------------ */

void packet_rewrite(const struct packet *view, const struct packet_tuple *from, const struct packet_tuple *to) {
  uint8_t *tcp = transport_header(view), *checksum = tcp + TCP_CHECKSUM;
  uint16_t addresses = change_of(sum_addresses(from), sum_addresses(to));

  memcpy(source_field(view), to->source, address_length(view->family));
  memcpy(destination_field(view), to->destination, address_length(view->family));
  packet_put16(tcp, to->source_port);
  packet_put16(tcp + 2, to->destination_port);

  if (view->family == 4) adjust_checksum(view->ip + 10, addresses);
  if (view->partial_checksum) {
    /* An uncomplemented sum of the pseudo-header; who completes it adds the ports as they are then. */
    store16(checksum, packet_fold((uint64_t)load16(checksum) + addresses));
  } else {
    uint16_t ports = change_of(sum_ports(from), sum_ports(to));
    adjust_checksum(checksum, packet_fold((uint64_t)addresses + ports));
  }
}

/* -- Answers -------------------------------------------------------------------------------------------------- */

/* Writes virtio and IP header, the latter for `length` bytes of payload; returns where the payload begins. */
static uint8_t *begin_answer(uint8_t *out, const struct packet_tuple *tuple, uint8_t protocol, size_t length) {
  uint8_t *ip = out + NAT_VNET_HDR_LEN;
  memset(out, 0, NAT_VNET_HDR_LEN);
  if (tuple->family == 6) {
    packet_put32(ip, 6u << 28);
    packet_put16(ip + 4, (uint16_t)length);
    ip[6] = protocol;
    ip[7] = ANSWER_HOPS;
    memcpy(ip + 8, tuple->source, 16);
    memcpy(ip + 24, tuple->destination, 16);
    return ip + IPV6_HEADER;
  }
  ip[0] = 0x45;
  ip[1] = protocol == ICMP4 ? 0xc0 : 0; /* internetwork control: RFC 1812 4.3.2.5 */
  packet_put16(ip + 2, (uint16_t)(IPV4_HEADER + length));
  packet_put32(ip + 4, 0x4000); /* an atomic datagram (RFC 6864): ID 0, don't fragment */
  ip[8] = ANSWER_HOPS;
  ip[9] = protocol;
  packet_put16(ip + 10, 0);
  memcpy(ip + 12, tuple->source, 4);
  memcpy(ip + 16, tuple->destination, 4);
  finish_checksum(ip + 10, packet_sum(0, ip, IPV4_HEADER));
  return ip + IPV4_HEADER;
}

static size_t header_length(uint8_t family) { return family == 4 ? IPV4_HEADER : IPV6_HEADER; }

/* RFC 9293 3.10.7.1: what a host says to a segment for which it has no connection. */
size_t packet_reset(const struct packet *view, uint8_t *out) {
  struct packet_tuple tuple, answer;
  packet_get_tuple(view, &tuple);
  answer = (struct packet_tuple){.source_port = tuple.destination_port,
                                 .destination_port = tuple.source_port,
                                 .family = tuple.family};
  memcpy(answer.source, tuple.destination, 16);
  memcpy(answer.destination, tuple.source, 16);
  bool acknowledges = (packet_tcp_flags(view) & PACKET_TCP_ACK) != 0;
  uint32_t acknowledged = packet_get32(transport_header(view) + TCP_ACKNOWLEDGEMENT);
  uint32_t next = packet_tcp_sequence(view) + packet_tcp_segment_length(view);

  uint8_t *tcp = begin_answer(out, &answer, TCP, TCP_HEADER);
  memset(tcp, 0, TCP_HEADER);
  packet_put16(tcp, answer.source_port);
  packet_put16(tcp + 2, answer.destination_port);
  packet_put32(tcp + TCP_SEQUENCE, acknowledges ? acknowledged : 0);
  packet_put32(tcp + TCP_ACKNOWLEDGEMENT, acknowledges ? 0 : next);
  tcp[TCP_OFFSET] = TCP_HEADER / 4 << 4;
  tcp[TCP_FLAGS] = PACKET_TCP_RST | (acknowledges ? 0 : PACKET_TCP_ACK);
  finish_checksum(tcp + TCP_CHECKSUM, packet_sum(sum_pseudo_header(&answer, TCP, TCP_HEADER), tcp, TCP_HEADER));
  return NAT_VNET_HDR_LEN + header_length(answer.family) + TCP_HEADER;
}

size_t packet_unreachable(const struct packet *view, enum packet_unreachable why, const uint8_t source[16],
                          uint8_t *out) {
  static const struct {
    uint8_t icmp4, icmp6;
  } codes[] = {
      [PACKET_NO_HOST] = {1, 3},     /* host unreachable; address unreachable */
      [PACKET_NO_NETWORK] = {0, 0},  /* network unreachable; no route to destination */
      [PACKET_PROHIBITED] = {13, 1}, /* communication administratively prohibited */
      [PACKET_NO_PORT] = {3, 4},     /* port unreachable */
  };
  struct packet_tuple tuple, answer = {.family = view->family};
  packet_get_tuple(view, &tuple);
  memcpy(answer.source, source, address_length(view->family));
  memcpy(answer.destination, tuple.source, 16);
  bool is4 = view->family == 4;
  size_t headers = header_length(view->family) + ICMP_HEADER;
  size_t quoted = (is4 ? ICMP4_ANSWER_MAX : ICMP6_ANSWER_MAX) - headers;
  if (view->length < quoted) quoted = view->length;

  /* The quotation first: `out` may be the frame that is quoted. */
  memmove(out + NAT_VNET_HDR_LEN + headers, view->ip, quoted);
  uint8_t protocol = is4 ? ICMP4 : ICMP6;
  size_t length = ICMP_HEADER + quoted;
  uint8_t *icmp = begin_answer(out, &answer, protocol, length);
  memset(icmp, 0, ICMP_HEADER);
  icmp[0] = is4 ? 3 : 1;
  icmp[1] = is4 ? codes[why].icmp4 : codes[why].icmp6;
  uint64_t pseudo_header = is4 ? 0 : sum_pseudo_header(&answer, protocol, length);
  finish_checksum(icmp + 2, packet_sum(pseudo_header, icmp, length));
  return NAT_VNET_HDR_LEN + headers + quoted;
}

size_t packet_write_udp(const struct packet_tuple *tuple, const uint8_t *payload, size_t length, uint8_t *out) {
  const size_t total = UDP_HEADER + length;
  uint8_t *udp = begin_answer(out, tuple, UDP, total);
  packet_put16(udp, tuple->source_port);
  packet_put16(udp + 2, tuple->destination_port);
  packet_put16(udp + UDP_LENGTH, (uint16_t)total);
  packet_put16(udp + UDP_CHECKSUM, 0);
  if (length > 0) memcpy(udp + UDP_HEADER, payload, length);
  finish_checksum(udp + UDP_CHECKSUM, packet_sum(sum_pseudo_header(tuple, UDP, total), udp, total));
  /* Zero says that there is none (RFC 768); the same number in one's complement is written instead. */
  if (packet_get16(udp + UDP_CHECKSUM) == 0) packet_put16(udp + UDP_CHECKSUM, 0xffff);
  return NAT_VNET_HDR_LEN + header_length(tuple->family) + total;
}
