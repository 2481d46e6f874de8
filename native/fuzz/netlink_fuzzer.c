/*
 * netlink_fuzzer.c - the rtnetlink client, with any octets as the kernel's answers.
 *
 * Input: an octet for the question, then datagrams, each with its length in two octets. With the
 * length's highest bit the messages have the sequence number that the client waits for.
 */
#include <errno.h>
#include <sys/socket.h>

#include "fuzz/check.h"
#include "fuzz/input.h"

static ssize_t answer(int fd, struct msghdr *header, int flags);
static ssize_t ask(int fd, const void *message, size_t length, int flags,
                   const struct sockaddr *to, socklen_t size);
#define recvmsg answer
#define sendto ask
#include "netlink.c"
#include "netlink_link.c"
#include "netlink_route.c"
#include "netlink_watch.c"
#undef recvmsg
#undef sendto

#define NUMBERED 0x8000u

static struct input input;
static struct netlink netlink;

static ssize_t ask(int fd, const void *message, size_t length, int flags,
                   const struct sockaddr *to, socklen_t size) {
  const struct nlmsghdr *request = message;
  (void)fd, (void)flags, (void)to, (void)size;
  CHECK(length == request->nlmsg_len && length <= NETLINK_REQUEST_CAPACITY);
  return (ssize_t)length;
}

static void number(uint8_t *datagram, size_t length) {
  for (size_t at = 0; length - at >= sizeof(struct nlmsghdr);) {
    struct nlmsghdr *message = (struct nlmsghdr *)(datagram + at);
    message->nlmsg_seq = netlink.sequence;
    if (message->nlmsg_len < sizeof *message || message->nlmsg_len > length - at) return;
    at += NLMSG_ALIGN(message->nlmsg_len);
    if (at > length) return;
  }
}

static ssize_t answer(int fd, struct msghdr *header, int flags) {
  uint8_t *buffer = header->msg_iov->iov_base;
  const size_t capacity = header->msg_iov->iov_len;
  (void)fd, (void)flags;
  if (input.left == 0) {
    errno = EAGAIN;
    return -1;
  }
  const uint16_t said = input_u16(&input);
  only_readable(buffer, capacity, capacity);
  const size_t length = input_take(&input, buffer, said & ~NUMBERED);
  if ((said & NUMBERED) != 0) number(buffer, length);
  only_readable(buffer, capacity, length);
  header->msg_flags = 0;
  return (ssize_t)length;
}

static void check_prefix(const struct netlink_prefix *prefix) {
  CHECK(prefix->family == 4 || prefix->family == 6);
  CHECK(prefix->length <= (prefix->family == 4 ? 32 : 128));
}

static void on_link(void *context, const struct netlink_link *link) {
  (void)context;
  CHECK(strnlen(link->name, sizeof link->name) < sizeof link->name);
  CHECK(strnlen(link->alias, sizeof link->alias) < sizeof link->alias);
}

static void on_address(void *context, uint32_t ifindex, const struct netlink_prefix *prefix) {
  (void)ifindex;
  check_prefix(prefix);
  CHECK(prefix->family == *(const int *)context);
}

static void on_route(void *context, const struct netlink_route *route) {
  (void)context;
  check_prefix(&route->destination);
  CHECK(route->gateway_count <= NETLINK_MAX_GATEWAYS);
  for (size_t i = 0; i < route->gateway_count; i++) check_prefix(&route->gateways[i]);
}

static void on_notice(void *context, const struct netlink_notice *notice) {
  if (notice->kind == NETLINK_ROUTE_NEW || notice->kind == NETLINK_ROUTE_GONE)
    on_route(context, &notice->route);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const struct netlink_prefix prefix = {.family = 6, .length = 64, .address = {0x20, 1, 0xd, 0xb8}};
  struct netlink_link link;

  input = (struct input){.at = data, .left = size};
  const uint8_t question = input_u8(&input);
  int family = (question & 0x80) != 0 ? 6 : 4;
  only_readable(netlink.buffer, sizeof netlink.buffer, sizeof netlink.buffer);
  netlink.fd = -1;
  netlink.sequence = 0;
  netlink.reason[0] = '\0';
  switch (question & 7) {
    case 0:
      (void)netlink_each_route(&netlink, family, RTPROT_UNSPEC, on_route, NULL);
      break;
    case 1:
      (void)netlink_each_address(&netlink, family, on_address, &family);
      break;
    case 2:
      (void)netlink_each_link(&netlink, on_link, NULL);
      break;
    case 3:
      if (netlink_link_get(&netlink, 7, &link) == 0) on_link(NULL, &link);
      break;
    case 4:
      if (netlink_link_find(&netlink, "tun0", &link) == 0) CHECK(link.ifindex != 0);
      break;
    case 5:
      (void)netlink_route_add(&netlink, 7, &prefix);
      break;
    case 6:
      (void)netlink_link_up(&netlink, 7, 1500, 500);
      break;
    default:
      while (netlink_watch_read(&netlink, on_notice, NULL) == 1) continue;
  }
  CHECK(strnlen(netlink.reason, sizeof netlink.reason) < sizeof netlink.reason);
  return 0;
}
