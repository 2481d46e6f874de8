#include "datagram.h"

#include <string.h>

#include "nat.h"

/* As nat.c has it for TCP (RFC 1122 3.2.2); a source port of 0 asks for no answer, and nothing listens at port 0. */
static bool is_answerable(const struct packet_tuple *tuple) {
  return tuple->source_port != 0 && tuple->destination_port != 0 &&
         !packet_address_is_special(tuple->source, tuple->family) &&
         !packet_address_is_multicast(tuple->source, tuple->family) &&
         !packet_address_is_special(tuple->destination, tuple->family) &&
         !packet_address_is_multicast(tuple->destination, tuple->family);
}

bool datagram_take(uint8_t *frame, size_t length, struct datagram *datagram, const uint8_t **payload) {
  struct packet packet;
  struct packet_tuple tuple;
  size_t payload_length;

  if (packet_parse(&packet, frame, length) != PACKET_UDP) return false;
  *payload = packet_udp(&packet, &tuple, &payload_length);
  if (!is_answerable(&tuple) || payload_length > DATAGRAM_MAX_PAYLOAD) return false;
  *datagram = (struct datagram){.family = tuple.family,
                                .length = (uint16_t)payload_length,
                                .source_port = tuple.source_port,
                                .destination_port = tuple.destination_port};
  memcpy(datagram->source, tuple.source, 16);
  memcpy(datagram->destination, tuple.destination, 16);
  return true;
}

size_t datagram_write(const struct datagram *datagram, const uint8_t *payload, uint8_t *out) {
  struct packet_tuple tuple = {.source_port = datagram->source_port,
                               .destination_port = datagram->destination_port,
                               .family = datagram->family};

  if ((datagram->family != 4 && datagram->family != 6) || datagram->length > DATAGRAM_MAX_PAYLOAD) return 0;
  const size_t address_length = datagram->family == 4 ? 4 : 16;
  memcpy(tuple.source, datagram->source, address_length);
  memcpy(tuple.destination, datagram->destination, address_length);
  return packet_write_udp(&tuple, payload, datagram->length, out);
}

size_t datagram_refuse(const struct datagram *datagram, const uint8_t *payload, enum packet_unreachable why,
                       uint8_t *out) {
  struct packet packet;

  const size_t length = datagram_write(datagram, payload, out);
  if (length == 0 || packet_parse(&packet, out, length) != PACKET_UDP) return 0;
  return packet_unreachable(&packet, why, datagram->destination, out);
}
