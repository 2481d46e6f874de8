/* packet_test.c - native/packet.c: checksums against a plain implementation, cut and bent frames, answers. */
#include <string.h>

#include "frames.h"
#include "nat.h"
#include "packet.h"

static uint64_t seed;

static const uint8_t A4[16] = {192, 168, 7, 2}, B4[16] = {10, 1, 2, 3}, R4[16] = {198, 18, 0, 2};
static const uint8_t A6[16] = {0x20, 1, 0xd, 0xb8, [15] = 7}, B6[16] = {0xfd, 0, 0, 9, [14] = 1};
static const uint8_t R6[16] = {0x20, 1, 0, 2, [15] = 2};

static const uint8_t *address(uint8_t family, const uint8_t *ipv4, const uint8_t *ipv6) {
  return family == 4 ? ipv4 : ipv6;
}

static struct segment example(uint8_t family, uint8_t flags) {
  struct segment s = {.family = family, .flags = flags, .source_port = 40001, .destination_port = 443,
                      .sequence = 0xfffffffe, .acknowledgement = 0x01020304};
  memcpy(s.source, address(family, A4, A6), 16);
  memcpy(s.destination, address(family, B4, B6), 16);
  return s;
}

/* In memory of its own of just that size, so that AddressSanitizer sees every octet read beyond it. */
static enum packet_kind parse_exactly(const uint8_t *frame, size_t length) {
  uint8_t *exact = malloc(length + (length == 0));
  memcpy(exact, frame, length);
  struct packet packet;
  struct packet_tuple tuple;
  enum packet_kind kind = packet_parse(&packet, exact, length);
  if (kind != PACKET_MALFORMED && kind != PACKET_FRAGMENT) {
    CHECK(packet.length <= length - NAT_VNET_HDR_LEN);
    packet_get_tuple(&packet, &tuple);
  }
  if (kind == PACKET_TCP) {
    CHECK(packet_tcp_segment_length(&packet) <= packet.length);
    packet_tcp_sequence(&packet);
    packet_rewrite(&packet, &tuple, &tuple);
  }
  free(exact);
  return kind;
}

/* -- Checksums ------------------------------------------------------------------------------------------------ */

static void test_sums(void) {
  uint8_t bytes[600];
  for (int round = 0; round < 3000; round++) {
    size_t offset = random_below(&seed, 16), length = random_below(&seed, 560);
    bool extreme = random_below(&seed, 4) == 0;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = extreme ? 0xff : (uint8_t)random_next(&seed);
    uint16_t stored = packet_fold(packet_sum(0, bytes + offset, length));
    uint8_t octets[2];
    memcpy(octets, &stored, 2);
    CHECK_EQUAL(packet_get16(octets), reference_sum(0, NULL, NULL, 0, bytes + offset, length));
  }
  CHECK_EQUAL(packet_fold(UINT64_MAX), 0xffff);
  CHECK_EQUAL(packet_fold(0), 0);
  CHECK_EQUAL(packet_fold(0xffffffff00000001u), 1);
}

static void random_tuple(struct packet_tuple *tuple, uint8_t family) {
  *tuple = (struct packet_tuple){.family = family};
  uint32_t style = random_below(&seed, 4); /* all zeros and all ones are where one's complement has its corners */
  for (size_t i = 0; i < (family == 4 ? 4 : 16); i++) {
    tuple->source[i] = style == 0 ? 0 : style == 1 ? 0xff : (uint8_t)random_next(&seed);
    tuple->destination[i] = style == 0 ? 0 : style == 1 ? 0xff : (uint8_t)random_next(&seed);
  }
  tuple->source_port = style == 0 ? 0 : style == 1 ? 0xffff : (uint16_t)random_next(&seed);
  tuple->destination_port = (uint16_t)random_next(&seed);
}

static void test_rewrite(void) {
  static uint8_t frame[SEGMENT_CAPACITY], back[SEGMENT_CAPACITY];
  for (int round = 0; round < 5000; round++) {
    uint8_t family = random_below(&seed, 2) == 0 ? 4 : 6;
    struct packet_tuple from, to;
    random_tuple(&from, family);
    random_tuple(&to, family);
    struct segment s = {.family = family, .flags = ACK, .pattern = (uint8_t)round};
    s.sequence = (uint32_t)random_next(&seed);
    s.payload = (uint16_t)(round % 500 == 0 ? 65535 - 120 : random_below(&seed, 100));
    s.partial = random_below(&seed, 2) == 0;
    s.gso_type = family == 4 ? 1 : 4;
    s.gso_size = (uint16_t)random_next(&seed);
    s.hdr_len = (uint16_t)random_next(&seed);
    s.ip_options = family == 4 ? (uint8_t)(4 * random_below(&seed, 11)) : 0;
    s.tcp_options = (uint8_t)(4 * random_below(&seed, 11));
    memcpy(s.source, from.source, 16);
    memcpy(s.destination, from.destination, 16);
    s.source_port = from.source_port;
    s.destination_port = from.destination_port;
    size_t length = segment_write(&s, frame);
    memcpy(back, frame, length);

    struct packet packet;
    struct packet_tuple tuple;
    CHECK_EQUAL(packet_parse(&packet, frame, length), PACKET_TCP);
    packet_get_tuple(&packet, &tuple);
    CHECK(memcmp(&tuple.source, &from.source, 16) == 0 && memcmp(&tuple.destination, &from.destination, 16) == 0);
    CHECK(tuple.source_port == from.source_port && tuple.destination_port == from.destination_port);
    packet_rewrite(&packet, &tuple, &to);
    struct segment seen = segment_read(frame, length);
    memcpy(s.source, to.source, 16);
    memcpy(s.destination, to.destination, 16);
    s.source_port = to.source_port;
    s.destination_port = to.destination_port;
    CHECK(segment_equal(&seen, &s));
    CHECK_EQUAL(frame[10 + (family == 4 ? 8 : 7)], 61); /* TTL, hop limit */
    packet_rewrite(&packet, &to, &from);
    CHECK(memcmp(frame, back, length) == 0 || s.partial);
  }
}

/* -- Parsing -------------------------------------------------------------------------------------------------- */

static void test_truncation(void) {
  static uint8_t frame[SEGMENT_CAPACITY];
  for (int variant = 0; variant < 8; variant++) {
    struct segment s = example(variant % 2 == 0 ? 4 : 6, SYN);
    s.partial = (variant & 2) != 0;
    s.tcp_options = variant & 4 ? 40 : 0;
    s.ip_options = s.family == 4 && (variant & 4) != 0 ? 40 : 0;
    s.payload = 5;
    size_t length = segment_write(&s, frame);
    CHECK_EQUAL(parse_exactly(frame, length), PACKET_TCP);
    for (size_t cut = 0; cut < length; cut++) CHECK_EQUAL(parse_exactly(frame, cut), PACKET_MALFORMED);
    /* The same, with an IP header that agrees with the cut: the transport header is what is cut. */
    size_t ip_header = s.family == 4 ? 20u + s.ip_options : 40u;
    for (size_t cut = 10 + ip_header; cut < length; cut++) {
      packet_put16(frame + 10 + (s.family == 4 ? 2 : 4), (uint16_t)(cut - 10 - (s.family == 4 ? 0 : 40)));
      enum packet_kind wanted = cut - 10 - ip_header < 20u + s.tcp_options ? PACKET_MALFORMED : PACKET_TCP;
      CHECK_EQUAL(parse_exactly(frame, cut), wanted);
    }
  }
}

static void test_padding(void) {
  static uint8_t frame[SEGMENT_CAPACITY];
  for (uint8_t family = 4; family <= 6; family += 2) {
    struct segment s = example(family, SYN);
    size_t length = segment_write(&s, frame);
    memset(frame + length, 0xee, 30);
    struct packet packet;
    CHECK_EQUAL(packet_parse(&packet, frame, length + 30), PACKET_TCP);
    CHECK_EQUAL(packet.length, length - 10);
    CHECK_EQUAL(packet_tcp_segment_length(&packet), 1);
  }
}

struct bend {
  uint8_t family;
  uint8_t offset, value; /* in the frame */
  enum packet_kind wanted;
};

static void test_bent_headers(void) {
  static const struct bend bends[] = {
      {4, 10, 0x55, PACKET_MALFORMED}, /* version 5 */
      {4, 10, 0x44, PACKET_MALFORMED}, /* header of 16 octets */
      {4, 10, 0x4f, PACKET_MALFORMED}, /* header of 60 octets in a packet of 40 */
      {4, 10, 0x65, PACKET_MALFORMED}, /* says IPv6 */
      {4, 12, 0xff, PACKET_MALFORMED}, /* total length beyond the frame */
      {4, 13, 19, PACKET_MALFORMED},   /* total length below the header's */
      {4, 16, 0x20, PACKET_FRAGMENT},  /* more fragments */
      {4, 17, 0x01, PACKET_FRAGMENT},  /* an offset */
      {4, 16, 0x80, PACKET_TCP},       /* the reserved bit */
      {4, 19, 17, PACKET_MALFORMED},   /* UDP whose length field (here the sequence number's) is wrong */
      {4, 19, 1, PACKET_UNANSWERABLE}, /* ICMP type 0x9c */
      {4, 19, 58, PACKET_OTHER},       /* ICMPv6 means nothing in IPv4 */
      {4, 19, 132, PACKET_OTHER},      /* SCTP */
      {4, 42, 0x40, PACKET_MALFORMED}, /* TCP header of 16 octets */
      {4, 42, 0x60, PACKET_MALFORMED}, /* TCP header of 24 octets in 20 */
      {6, 14, 0xff, PACKET_MALFORMED}, /* payload length beyond the frame */
      {6, 16, 44, PACKET_FRAGMENT},
      {6, 16, 59, PACKET_OTHER},       /* no next header */
      {6, 16, 0, PACKET_MALFORMED},    /* hop-by-hop options longer than the packet (their length octet is 0x41) */
      {6, 62, 0x40, PACKET_MALFORMED},
      {6, 62, 0x60, PACKET_MALFORMED},
  };
  uint8_t frame[200];
  for (size_t i = 0; i < sizeof bends / sizeof *bends; i++) {
    snprintf(frames_context, sizeof frames_context, "bend %zu", i);
    struct segment s = example(bends[i].family, SYN);
    size_t length = segment_write(&s, frame);
    frame[bends[i].offset] = bends[i].value;
    CHECK_EQUAL(parse_exactly(frame, length), bends[i].wanted);
  }
}

static void test_partial_checksum_elsewhere(void) {
  uint8_t frame[200];
  struct segment s = example(4, SYN);
  s.partial = true;
  size_t length = segment_write(&s, frame);
  for (size_t offset = 6; offset < 10; offset++) {
    frame[offset] ^= 4;
    CHECK_EQUAL(parse_exactly(frame, length), PACKET_MALFORMED);
    frame[offset] ^= 4;
  }
}

static void test_extension_headers(void) {
  uint8_t frame[400], payload[300];
  /* Options, then what the chain ends in. */
  static const struct {
    uint8_t last;
    enum packet_kind wanted;
  } ends[] = {
      {6, PACKET_OTHER}, {17, PACKET_UDP}, {44, PACKET_FRAGMENT}, {58, PACKET_UNANSWERABLE}, {50, PACKET_OTHER}};
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    for (unsigned count = 1; count <= 9; count++) {
      static const uint8_t kinds[] = {0, 60, 43};
      memset(payload, 0, sizeof payload);
      size_t at = 0;
      for (unsigned n = 0; n < count; n++) {
        payload[at] = n + 1 == count ? ends[i].last : kinds[(n + 1) % 3];
        payload[at + 1] = (uint8_t)(n % 2); /* 8 or 16 octets */
        at += 8 + 8 * (size_t)(n % 2);
      }
      payload[at + 4] = 0; /* a UDP length of 20; ICMPv6 type 0 is an error */
      payload[at + 5] = 20;
      payload[at + 12] = 0x50;
      size_t length = ip_write(frame, 6, A6, B6, kinds[0], payload, at + 20);
      CHECK_EQUAL(parse_exactly(frame, length), count <= 8 ? ends[i].wanted : PACKET_MALFORMED);
      for (size_t cut = 0; cut < at + 20; cut++) {
        length = ip_write(frame, 6, A6, B6, kinds[0], payload, cut);
        enum packet_kind kind = parse_exactly(frame, length);
        CHECK(cut >= at || kind == PACKET_MALFORMED);
      }
    }
  }
}

static void test_icmp_kinds(void) {
  uint8_t frame[100], message[8] = {0};
  for (unsigned type = 0; type < 256; type++) {
    message[0] = (uint8_t)type;
    size_t length = ip_write(frame, 4, A4, B4, 1, message, 8);
    bool request4 = type == 8 || type == 13 || type == 15 || type == 17;
    CHECK_EQUAL(parse_exactly(frame, length), request4 ? PACKET_OTHER : PACKET_UNANSWERABLE);
    length = ip_write(frame, 6, A6, B6, 58, message, 8);
    CHECK_EQUAL(parse_exactly(frame, length), type == 128 ? PACKET_OTHER : PACKET_UNANSWERABLE);
  }
  CHECK_EQUAL(parse_exactly(frame, ip_write(frame, 4, A4, B4, 1, message, 7)), PACKET_MALFORMED);
}

static void test_addresses(void) {
  static const struct {
    uint8_t family, address[16];
    bool multicast, special;
  } cases[] = {
      {4, {0, 0, 0, 0}, false, true},       {4, {0, 1, 2, 3}, false, true},
      {4, {127, 9, 9, 9}, false, true},     {4, {10, 0, 0, 0}, false, false},
      {4, {223, 255, 255, 255}, false, false}, {4, {224, 0, 0, 1}, true, false},
      {4, {239, 255, 255, 250}, true, false}, {4, {240, 0, 0, 1}, false, false},
      {4, {255, 255, 255, 254}, false, false}, {4, {255, 255, 255, 255}, true, false},
      {6, {0}, false, true},                {6, {[15] = 1}, false, true},
      {6, {[15] = 2}, false, false},        {6, {[14] = 1}, false, false},
      {6, {0xff, 2, [15] = 2}, true, false}, {6, {0xfe, 0x80, [15] = 1}, false, false},
      {6, {[10] = 0xff, [11] = 0xff, 10, 0, 0, 1}, false, true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    snprintf(frames_context, sizeof frames_context, "address %zu", i);
    CHECK_EQUAL(packet_address_is_multicast(cases[i].address, cases[i].family), cases[i].multicast);
    CHECK_EQUAL(packet_address_is_special(cases[i].address, cases[i].family), cases[i].special);
  }
}

/* -- Answers -------------------------------------------------------------------------------------------------- */

/* Answers into another buffer and, as nat_input() does, into the frame itself: both must be the same octets. */
static size_t answer(const uint8_t *frame, size_t length, bool reset, enum packet_unreachable why,
                     const uint8_t *source, uint8_t out[NAT_ANSWER_CAPACITY]) {
  static uint8_t copy[SEGMENT_CAPACITY];
  memcpy(copy, frame, length);
  struct packet packet;
  packet_parse(&packet, copy, length);
  memset(out, 0xaa, NAT_ANSWER_CAPACITY);
  size_t answered = reset ? packet_reset(&packet, out) : packet_unreachable(&packet, why, source, out);
  size_t again = reset ? packet_reset(&packet, copy) : packet_unreachable(&packet, why, source, copy);
  CHECK_EQUAL(again, answered);
  CHECK(answered <= NAT_ANSWER_CAPACITY);
  CHECK(memcmp(copy, out, answered) == 0);
  return answered;
}

static void test_reset(void) {
  static uint8_t frame[SEGMENT_CAPACITY];
  uint8_t out[NAT_ANSWER_CAPACITY];
  for (int variant = 0; variant < 16; variant++) {
    uint8_t flags = (uint8_t)((variant & 1 ? SYN : 0) | (variant & 2 ? FIN : 0) | (variant & 4 ? ACK : 0));
    struct segment s = example(variant & 8 ? 6 : 4, flags);
    s.payload = (uint16_t)(variant == 7 ? 60000 : variant * 3);
    s.tcp_options = 12;
    s.partial = variant % 3 == 0;
    size_t length = answer(frame, segment_write(&s, frame), true, 0, NULL, out);
    struct segment seen = segment_read(out, length);
    struct segment wanted = example(s.family, flags & ACK ? RST : RST | ACK);
    memcpy(wanted.source, s.destination, 16);
    memcpy(wanted.destination, s.source, 16);
    wanted.source_port = s.destination_port;
    wanted.destination_port = s.source_port;
    wanted.sequence = flags & ACK ? s.acknowledgement : 0;
    wanted.acknowledgement = flags & ACK ? 0 : s.sequence + s.payload + (flags & SYN ? 1 : 0) + (flags & FIN ? 1 : 0);
    CHECK(segment_equal(&seen, &wanted));
  }
}

static void test_reset_octets(void) {
  static const uint8_t wanted[] = {
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                             /* virtio */
      0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0x67, 0x22,         /* IPv4: DF, TTL 64, TCP, checksum */
      10, 1, 2, 3, 192, 168, 7, 2,                              /* from where the segment went to whence it came */
      1, 187, 0x9c, 0x41, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,   /* ports; SEQ 0; ACK = SEQ + 1 */
      0x50, 0x14, 0, 0, 0x3e, 0x26, 0, 0,                       /* RST|ACK, no window, checksum, no urgent pointer */
  };
  uint8_t frame[200], out[NAT_ANSWER_CAPACITY];
  struct segment s = example(4, SYN);
  size_t length = answer(frame, segment_write(&s, frame), true, 0, NULL, out);
  CHECK_EQUAL(length, sizeof wanted);
  for (size_t i = 0; i < length; i++) CHECK_EQUAL((long)(i * 1000 + out[i]), (long)(i * 1000 + wanted[i]));
}

static void test_unreachable(void) {
  static const uint8_t codes4[] = {1, 0, 13, 3}, codes6[] = {3, 0, 1, 4};
  static uint8_t frame[SEGMENT_CAPACITY];
  uint8_t out[NAT_ANSWER_CAPACITY];
  for (uint8_t family = 4; family <= 6; family += 2) {
    size_t most = family == 4 ? 576 - 28 : 1280 - 48;
    for (int why = PACKET_NO_HOST; why <= PACKET_NO_PORT; why++) {
      static const uint16_t payloads[] = {0, 1, 500, 507, 508, 509, 1172, 1173, 1174, 60000};
      for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
        struct segment s = example(family, SYN);
        s.payload = payloads[i];
        size_t length = segment_write(&s, frame), packet = length - 10;
        length = answer(frame, length, false, (enum packet_unreachable)why, address(family, R4, R6), out);
        struct icmp icmp = icmp_read(out, length);
        CHECK_EQUAL(icmp.type, family == 4 ? 3 : 1);
        CHECK_EQUAL(icmp.code, family == 4 ? codes4[why] : codes6[why]);
        CHECK(memcmp(icmp.source, address(family, R4, R6), family == 4 ? 4 : 16) == 0);
        CHECK(memcmp(icmp.destination, s.source, 16) == 0);
        CHECK_EQUAL(icmp.quoted_length, packet < most ? packet : most);
        CHECK(memcmp(icmp.quoted, frame + 10, icmp.quoted_length) == 0);
      }
    }
  }
}

int main(void) {
  seed = random_seed("PACKET_TEST_SEED");
  static const struct named_test tests[] = {
      {"sums agree with RFC 1071 done octet by octet", test_sums},
      {"rewriting leaves what a frame built anew would be", test_rewrite},
      {"a frame cut anywhere is malformed and not read beyond", test_truncation},
      {"what was captured behind the packet is ignored", test_padding},
      {"bent headers", test_bent_headers},
      {"NEEDS_CSUM for anything but the TCP checksum is malformed", test_partial_checksum_elsewhere},
      {"IPv6 extension headers", test_extension_headers},
      {"only requests of ICMP are answerable", test_icmp_kinds},
      {"multicast and special addresses", test_addresses},
      {"resets per RFC 9293", test_reset},
      {"a reset, octet by octet", test_reset_octets},
      {"unreachables: codes, source, quotation", test_unreachable},
  };
  return frames_run(tests, sizeof tests / sizeof *tests);
}
