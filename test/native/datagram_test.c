/* datagram_test.c - native/datagram.c: what is taken out of frames, what is written into them, and what never is. */
#include "datagram.h"

#include <string.h>

#include "frames.h"
#include "nat.h"

static const uint8_t A4[16] = {198, 18, 0, 1}, B4[16] = {192, 0, 2, 9};
static const uint8_t A6[16] = {0x20, 1, 0, 2, [15] = 1}, B6[16] = {0x20, 1, 0xd, 0xb8, [15] = 9};

static uint8_t frame[NAT_FRAME_CAPACITY], payload_bytes[DATAGRAM_MAX_PAYLOAD];
static uint64_t seed;

static struct datagram example(uint8_t family, uint16_t length) {
  struct datagram datagram = {.family = family, .length = length, .source_port = 5353, .destination_port = 53};
  memcpy(datagram.source, family == 4 ? A4 : A6, 16);
  memcpy(datagram.destination, family == 4 ? B4 : B6, 16);
  return datagram;
}

/* Over the UDP header and payload behind an IP header without options: 0xffff where the checksum is right. */
static uint16_t checksum_of(const struct datagram *datagram, size_t frame_length) {
  const size_t header = NAT_VNET_HDR_LEN + (datagram->family == 4 ? 20u : 40u);
  return reference_sum(datagram->family, datagram->source, datagram->destination, 17, frame + header,
                       frame_length - header);
}

static void check_round_trip(uint8_t family, uint16_t length) {
  const struct datagram datagram = example(family, length);
  struct datagram taken;
  const uint8_t *payload;

  for (size_t i = 0; i < length; i++) payload_bytes[i] = (uint8_t)random_next(&seed);
  memset(frame, 0xa5, sizeof frame);
  const size_t frame_length = datagram_write(&datagram, payload_bytes, frame);
  CHECK_EQUAL(frame_length, NAT_VNET_HDR_LEN + (family == 4 ? 20u : 40u) + 8u + length);
  for (size_t i = 0; i < NAT_VNET_HDR_LEN; i++) CHECK_EQUAL(frame[i], 0);
  CHECK_EQUAL(checksum_of(&datagram, frame_length), 0xffff);
  CHECK(datagram_take(frame, frame_length, &taken, &payload));
  CHECK(memcmp(&taken, &datagram, sizeof taken) == 0);
  CHECK(memcmp(payload, payload_bytes, length) == 0);
}

static void test_round_trip(void) {
  static const uint16_t lengths[] = {0, 1, 2, 7, 512, 1472, 1473, 65506, DATAGRAM_MAX_PAYLOAD};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    check_round_trip(4, lengths[i]);
    check_round_trip(6, lengths[i]);
  }
  for (int round = 0; round < 200; round++)
    check_round_trip(round % 2 == 0 ? 4 : 6, (uint16_t)random_below(&seed, 2000));
}

/* A sum of zero would mean "no checksum" (RFC 768), which IPv6 forbids. */
static void test_checksum_is_never_zero(void) {
  struct datagram datagram = example(6, 2);
  for (unsigned value = 0; value <= 0xffff; value++) {
    payload_bytes[0] = (uint8_t)(value >> 8);
    payload_bytes[1] = (uint8_t)value;
    const size_t length = datagram_write(&datagram, payload_bytes, frame);
    const uint8_t *field = frame + NAT_VNET_HDR_LEN + 40 + 6;
    CHECK(field[0] != 0 || field[1] != 0);
    CHECK_EQUAL(checksum_of(&datagram, length), 0xffff);
  }
}

static bool takes(const struct datagram *datagram) {
  struct datagram taken;
  const uint8_t *payload;
  const size_t length = datagram_write(datagram, payload_bytes, frame);
  CHECK(length > 0);
  return datagram_take(frame, length, &taken, &payload);
}

static void test_unanswerable_is_left(void) {
  static const uint8_t special4[][4] = {{0, 0, 0, 0}, {127, 0, 0, 1}, {224, 0, 0, 251}, {255, 255, 255, 255}};
  static const uint8_t special6[][16] = {{0}, {[15] = 1}, {0xff, 2, [15] = 0xfb}, {[10] = 0xff, [11] = 0xff, 1, 2, 3, 4}};
  for (size_t i = 0; i < 4; i++) {
    struct datagram from4 = example(4, 4), to4 = from4, from6 = example(6, 4), to6 = from6;
    memcpy(from4.source, special4[i], 4);
    memcpy(to4.destination, special4[i], 4);
    memcpy(from6.source, special6[i], 16);
    memcpy(to6.destination, special6[i], 16);
    CHECK(!takes(&from4) && !takes(&to4) && !takes(&from6) && !takes(&to6));
  }
  struct datagram from = example(4, 4), to = from;
  from.source_port = 0;
  to.destination_port = 0;
  CHECK(!takes(&from) && !takes(&to));
}

/* In memory of its own of just that size, so that AddressSanitizer sees every octet read beyond it. */
static void take_exactly(const uint8_t *bytes, size_t length) {
  uint8_t *exact = malloc(length + (length == 0));
  struct datagram taken;
  const uint8_t *payload;
  memcpy(exact, bytes, length);
  if (datagram_take(exact, length, &taken, &payload)) {
    CHECK(payload >= exact && payload + taken.length <= exact + length);
    reference_sum(0, NULL, NULL, 0, payload, taken.length);
  }
  free(exact);
}

static void test_cut_and_bent(void) {
  for (uint8_t family = 4; family <= 6; family += 2) {
    const struct datagram datagram = example(family, 64);
    const size_t length = datagram_write(&datagram, payload_bytes, frame);
    for (size_t cut = 0; cut <= length; cut++) take_exactly(frame, cut);
    for (int round = 0; round < 20000; round++) {
      uint8_t bent[256];
      memcpy(bent, frame, length);
      for (uint32_t changes = 1 + random_below(&seed, 4); changes > 0; changes--)
        bent[random_below(&seed, NAT_VNET_HDR_LEN + 56)] = (uint8_t)random_next(&seed);
      take_exactly(bent, length);
    }
  }
}

static void check_refusal(uint8_t family, enum packet_unreachable why, uint8_t type, uint8_t code, uint16_t size) {
  const struct datagram datagram = example(family, size);
  const size_t length = datagram_refuse(&datagram, payload_bytes, why, frame);
  const struct icmp icmp = icmp_read(frame, length);
  CHECK_EQUAL(icmp.family, family);
  CHECK_EQUAL(icmp.type, type);
  CHECK_EQUAL(icmp.code, code);
  CHECK(memcmp(icmp.source, datagram.destination, 16) == 0);
  CHECK(memcmp(icmp.destination, datagram.source, 16) == 0);
  /* The socket is found by what is quoted: addresses and ports. */
  const size_t header = family == 4 ? 20 : 40;
  CHECK(icmp.quoted_length >= header + 8);
  CHECK_EQUAL(packet_get16(icmp.quoted + header), datagram.source_port);
  CHECK_EQUAL(packet_get16(icmp.quoted + header + 2), datagram.destination_port);
}

static void test_refusals(void) {
  static const uint16_t sizes[] = {0, 40, 3000, DATAGRAM_MAX_PAYLOAD};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    check_refusal(4, PACKET_NO_PORT, 3, 3, sizes[i]);
    check_refusal(6, PACKET_NO_PORT, 1, 4, sizes[i]);
    check_refusal(4, PACKET_PROHIBITED, 3, 13, sizes[i]);
    check_refusal(6, PACKET_PROHIBITED, 1, 1, sizes[i]);
  }
}

static void test_malformed_is_not_written(void) {
  struct datagram datagram = example(4, 1);
  datagram.family = 5;
  CHECK_EQUAL(datagram_write(&datagram, payload_bytes, frame), 0);
  CHECK_EQUAL(datagram_refuse(&datagram, payload_bytes, PACKET_NO_PORT, frame), 0);
  datagram = example(4, DATAGRAM_MAX_PAYLOAD + 1);
  CHECK_EQUAL(datagram_write(&datagram, payload_bytes, frame), 0);
}

int main(void) {
  seed = random_seed("DATAGRAM_SEED");
  static const struct named_test tests[] = {
      {"round trip", test_round_trip},
      {"checksum is never zero", test_checksum_is_never_zero},
      {"unanswerable is left", test_unanswerable_is_left},
      {"cut and bent", test_cut_and_bent},
      {"refusals", test_refusals},
      {"malformed is not written", test_malformed_is_not_written},
  };
  return frames_run(tests, sizeof tests / sizeof *tests);
}
