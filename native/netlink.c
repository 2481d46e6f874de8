#include "netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netlink_message.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

/* How often a dump that changes interrupt is tried before its result is used as it is. */
#define DUMP_ATTEMPTS 8

int netlink_family(const struct netlink_prefix *prefix) {
  return prefix->family == 4 ? AF_INET : AF_INET6;
}

size_t netlink_address_size(int family) { return family == AF_INET ? 4 : 16; }

int netlink_open_socket(struct netlink *netlink, int flags) {
  memset(netlink, 0, sizeof *netlink);
  netlink->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE);
  return netlink->fd < 0 ? -errno : 0;
}

int netlink_open(struct netlink *netlink) {
  const int on = 1;

  int result = netlink_open_socket(netlink, 0);
  if (result < 0) return result;
  /*
   * Optional features of newer kernels: messages with errors, answers without a copy of the
   * request, filtered dumps.
   */
  (void)setsockopt(netlink->fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  (void)setsockopt(netlink->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  (void)setsockopt(netlink->fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  return 0;
}

void netlink_close(struct netlink *netlink) {
  if (netlink->fd >= 0) close(netlink->fd);
  netlink->fd = -1;
}

struct nlmsghdr *netlink_request_begin(struct netlink_request *request, uint16_t type,
                                       uint16_t flags, const void *body, size_t size) {
  struct nlmsghdr *header = (struct nlmsghdr *)request->data;

  memset(request, 0, sizeof *request);
  header->nlmsg_type = type;
  header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
  header->nlmsg_len = (uint32_t)NLMSG_LENGTH(size);
  memcpy(NLMSG_DATA(header), body, size);
  return header;
}

/*
 * Appends an attribute. `value` may be NULL if it contains the attributes that are appended next
 * (see attribute_end).
 */
struct rtattr *netlink_attribute(struct nlmsghdr *header, uint16_t type, const void *value,
                                size_t size) {
  struct rtattr *item = (struct rtattr *)((uint8_t *)header + NLMSG_ALIGN(header->nlmsg_len));

  item->rta_type = type;
  item->rta_len = (uint16_t)RTA_LENGTH(size);
  if (value != NULL) memcpy(RTA_DATA(item), value, size);
  header->nlmsg_len = (uint32_t)(NLMSG_ALIGN(header->nlmsg_len) + RTA_ALIGN(item->rta_len));
  return item;
}

void netlink_attribute_end(struct nlmsghdr *header, struct rtattr *item) {
  item->rta_len = (uint16_t)((uint8_t *)header + header->nlmsg_len - (uint8_t *)item);
}

/* Puts attributes into `table` by type; it has `types` entries. */
void netlink_attributes_parse(const struct rtattr **table, size_t types, const struct rtattr *item,
                             size_t size) {
  int left = (int)size;

  memset(table, 0, types * sizeof *table);
  for (; RTA_OK(item, left); item = RTA_NEXT(item, left)) {
    uint16_t type = item->rta_type & NLA_TYPE_MASK;
    if (type < types) table[type] = item;
  }
}

uint32_t netlink_attribute_u32(const struct rtattr *item, uint32_t absent) {
  uint32_t value = absent;
  if (item != NULL && RTA_PAYLOAD(item) >= sizeof value)
    memcpy(&value, RTA_DATA(item), sizeof value);
  return value;
}

bool netlink_attribute_text(const struct rtattr *item, char *text, size_t size) {
  if (item == NULL) return false;
  const size_t length = strnlen(RTA_DATA(item), RTA_PAYLOAD(item));
  if (length >= size) return false;
  memcpy(text, RTA_DATA(item), length);
  text[length] = '\0';
  return true;
}

/*
 * Reads the kernel's message with an error, from the attributes after the first `skip` bytes of the
 * payload.
 */
static void reason_read(struct netlink *netlink, const struct nlmsghdr *message, size_t skip) {
  const struct rtattr *table[NLMSGERR_ATTR_MSG + 1];
  size_t payload = NLMSG_PAYLOAD(message, 0);

  skip = NLMSG_ALIGN(skip);
  if ((message->nlmsg_flags & NLM_F_ACK_TLVS) == 0 || payload < skip) return;
  netlink_attributes_parse(table, NLMSGERR_ATTR_MSG + 1,
                   (const struct rtattr *)((const uint8_t *)NLMSG_DATA(message) + skip),
                   payload - skip);
  const struct rtattr *text = table[NLMSGERR_ATTR_MSG];
  if (text == NULL) return;
  size_t length = strnlen(RTA_DATA(text), RTA_PAYLOAD(text));
  if (length >= sizeof netlink->reason) length = sizeof netlink->reason - 1;
  memcpy(netlink->reason, RTA_DATA(text), length);
  netlink->reason[length] = '\0';
}

/* The result in an NLMSG_ERROR (which is also the acknowledgement) or NLMSG_DONE. */
static int outcome(struct netlink *netlink, const struct nlmsghdr *message) {
  int error;

  if (NLMSG_PAYLOAD(message, 0) < sizeof error)
    return message->nlmsg_type == NLMSG_DONE ? 0 : -EBADMSG;
  memcpy(&error, NLMSG_DATA(message), sizeof error);
  if (error == 0) return 0;
  size_t skip = sizeof error;
  if (message->nlmsg_type == NLMSG_ERROR) {
    const struct nlmsgerr *body = NLMSG_DATA(message);
    if (NLMSG_PAYLOAD(message, 0) < sizeof *body) return -EBADMSG;
    skip = sizeof *body;
    if ((message->nlmsg_flags & NLM_F_CAPPED) == 0) skip += NLMSG_PAYLOAD(&body->msg, 0);
  }
  reason_read(netlink, message, skip);
  return error < 0 ? error : -EBADMSG;
}

/* Reads one datagram from the kernel into the buffer. Returns its length or a negative errno. */
ssize_t netlink_receive(struct netlink *netlink) {
  for (;;) {
    struct sockaddr_nl sender = {0};
    struct iovec part = {.iov_base = netlink->buffer, .iov_len = sizeof netlink->buffer};
    struct msghdr header = {
        .msg_name = &sender, .msg_namelen = sizeof sender, .msg_iov = &part, .msg_iovlen = 1};
    ssize_t length = recvmsg(netlink->fd, &header, 0);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return -errno;
    if (sender.nl_pid != 0) continue; /* not the kernel */
    if ((header.msg_flags & MSG_TRUNC) != 0) return -EMSGSIZE;
    return length;
  }
}

/*
 * Sends a request and passes every answer to `each` until the acknowledgement or the dump's end.
 * -EINTR: changes interrupted the dump.
 */
int netlink_converse(struct netlink *netlink, struct nlmsghdr *request,
                     netlink_message_function each, void *context) {
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  bool torn = false;

  netlink->reason[0] = '\0';
  request->nlmsg_seq = ++netlink->sequence;
  while (sendto(netlink->fd, request, request->nlmsg_len, 0, (struct sockaddr *)&kernel,
                sizeof kernel) < 0)
    if (errno != EINTR) return -errno;

  for (;;) {
    ssize_t length = netlink_receive(netlink);
    if (length < 0) return (int)length;
    uint32_t left = (uint32_t)length;
    for (struct nlmsghdr *message = (struct nlmsghdr *)netlink->buffer; NLMSG_OK(message, left);
         message = netlink_message_next(message, &left)) {
      if (message->nlmsg_seq != netlink->sequence) continue;
      torn = torn || (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE) {
        int result = outcome(netlink, message);
        return result == 0 && torn ? -EINTR : result;
      }
      if (each != NULL) each(context, message);
    }
  }
}

int netlink_change(struct netlink *netlink, struct nlmsghdr *request) {
  request->nlmsg_flags |= NLM_F_ACK;
  return netlink_converse(netlink, request, NULL, NULL);
}

int netlink_dump(struct netlink *netlink, struct nlmsghdr *request, netlink_message_function each,
                 void *context) {
  int result = -EINTR;
  request->nlmsg_flags |= NLM_F_DUMP;
  for (int attempt = 0; result == -EINTR && attempt < DUMP_ATTEMPTS; attempt++)
    result = netlink_converse(netlink, request, each, context);
  return result == -EINTR ? 0 : result;
}
bool netlink_prefix_equal(const struct netlink_prefix *a, const struct netlink_prefix *b) {
  return a->family == b->family && a->length == b->length &&
         memcmp(a->address, b->address, sizeof a->address) == 0;
}

bool netlink_prefix_contains(const struct netlink_prefix *a, const struct netlink_prefix *b) {
  return a->length <= b->length && netlink_prefix_overlap(a, b);
}

bool netlink_prefix_overlap(const struct netlink_prefix *a, const struct netlink_prefix *b) {
  const unsigned length = a->length < b->length ? a->length : b->length;
  const unsigned whole = length / 8, rest = length % 8;

  if (a->family != b->family || memcmp(a->address, b->address, whole) != 0) return false;
  return rest == 0 || (uint8_t)(a->address[whole] ^ b->address[whole]) >> (8 - rest) == 0;
}

struct netlink_prefix netlink_prefix_shortened(const struct netlink_prefix *prefix,
                                               unsigned length) {
  struct netlink_prefix wider = *prefix;

  wider.length = (uint8_t)length;
  for (unsigned octet = length / 8; octet < sizeof wider.address; octet++)
    wider.address[octet] &= octet == length / 8 ? (uint8_t)(0xff00u >> length % 8) : 0;
  return wider;
}
