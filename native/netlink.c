#include "netlink.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netlink_message.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

/* How often a dump that changes interrupt is tried before its result is used as it is. */
#define DUMP_ATTEMPTS 8
#define RTMGRP_IPV6_RULE (1u << (RTNLGRP_IPV6_RULE - 1))
/* For notifications: takes a few thousand changes at once. */
#define WATCH_BUFFER (1024 * 1024)

typedef void (*message_function)(void *context, const struct nlmsghdr *message);

int netlink_family(const struct netlink_prefix *prefix) {
  return prefix->family == 4 ? AF_INET : AF_INET6;
}

size_t netlink_address_size(int family) { return family == AF_INET ? 4 : 16; }

static int open_socket(struct netlink *netlink, int flags) {
  memset(netlink, 0, sizeof *netlink);
  netlink->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE);
  return netlink->fd < 0 ? -errno : 0;
}

int netlink_open(struct netlink *netlink) {
  const int on = 1;

  int result = open_socket(netlink, 0);
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

static void attribute_end(struct nlmsghdr *header, struct rtattr *item) {
  item->rta_len = (uint16_t)((uint8_t *)header + header->nlmsg_len - (uint8_t *)item);
}

/* Puts attributes into `table` by type; it has `types` entries. */
static void attributes_parse(const struct rtattr **table, size_t types, const struct rtattr *item,
                             size_t size) {
  int left = (int)size;

  memset(table, 0, types * sizeof *table);
  for (; RTA_OK(item, left); item = RTA_NEXT(item, left)) {
    uint16_t type = item->rta_type & NLA_TYPE_MASK;
    if (type < types) table[type] = item;
  }
}

static uint32_t attribute_u32(const struct rtattr *item, uint32_t absent) {
  uint32_t value = absent;
  if (item != NULL && RTA_PAYLOAD(item) >= sizeof value)
    memcpy(&value, RTA_DATA(item), sizeof value);
  return value;
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
  attributes_parse(table, NLMSGERR_ATTR_MSG + 1,
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
static ssize_t receive(struct netlink *netlink) {
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
static int converse(struct netlink *netlink, struct nlmsghdr *request, message_function each,
                    void *context) {
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  bool torn = false;

  netlink->reason[0] = '\0';
  request->nlmsg_seq = ++netlink->sequence;
  while (sendto(netlink->fd, request, request->nlmsg_len, 0, (struct sockaddr *)&kernel,
                sizeof kernel) < 0)
    if (errno != EINTR) return -errno;

  for (;;) {
    ssize_t length = receive(netlink);
    if (length < 0) return (int)length;
    uint32_t left = (uint32_t)length;
    for (struct nlmsghdr *message = (struct nlmsghdr *)netlink->buffer; NLMSG_OK(message, left);
         message = NLMSG_NEXT(message, left)) {
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
  return converse(netlink, request, NULL, NULL);
}

static int dump(struct netlink *netlink, struct nlmsghdr *request, message_function each,
                void *context) {
  int result = -EINTR;
  request->nlmsg_flags |= NLM_F_DUMP;
  for (int attempt = 0; result == -EINTR && attempt < DUMP_ATTEMPTS; attempt++)
    result = converse(netlink, request, each, context);
  return result == -EINTR ? 0 : result;
}

int netlink_link_up(struct netlink *netlink, uint32_t ifindex, uint32_t mtu, uint32_t queue) {
  const uint8_t mode = IN6_ADDR_GEN_MODE_NONE;
  struct ifinfomsg body = {.ifi_index = (int)ifindex};
  struct netlink_request request;

  /* This must come before the device is up, or the kernel gives it a link-local address at once. */
  struct nlmsghdr *header = netlink_request_begin(&request, RTM_NEWLINK, 0, &body, sizeof body);
  struct rtattr *families = netlink_attribute(header, IFLA_AF_SPEC | NLA_F_NESTED, NULL, 0);
  struct rtattr *inet6 = netlink_attribute(header, AF_INET6 | NLA_F_NESTED, NULL, 0);
  netlink_attribute(header, IFLA_INET6_ADDR_GEN_MODE, &mode, sizeof mode);
  attribute_end(header, inet6);
  attribute_end(header, families);
  int result = netlink_change(netlink, header);
  /* A kernel without IPv6 gives it no such address anyway. */
  if (result < 0 && result != -EAFNOSUPPORT) return result;

  body.ifi_flags = IFF_UP;
  body.ifi_change = IFF_UP;
  header = netlink_request_begin(&request, RTM_NEWLINK, 0, &body, sizeof body);
  netlink_attribute(header, IFLA_MTU, &mtu, sizeof mtu);
  if (queue != 0) netlink_attribute(header, IFLA_TXQLEN, &queue, sizeof queue);
  return netlink_change(netlink, header);
}

static void link_read(void *context, const struct nlmsghdr *message) {
  struct netlink_link *link = context;
  const struct ifinfomsg *body = NLMSG_DATA(message);
  const struct rtattr *table[IFLA_IFNAME + 1];

  if (message->nlmsg_type != RTM_NEWLINK || message->nlmsg_len < NLMSG_LENGTH(sizeof *body)) return;
  link->up = (body->ifi_flags & IFF_UP) != 0;
  attributes_parse(table, IFLA_IFNAME + 1, IFLA_RTA(body), IFLA_PAYLOAD(message));
  const struct rtattr *name = table[IFLA_IFNAME];
  if (name == NULL) return;
  size_t length = strnlen(RTA_DATA(name), RTA_PAYLOAD(name));
  if (length >= sizeof link->name) return;
  memcpy(link->name, RTA_DATA(name), length);
  link->name[length] = '\0';
}

int netlink_link_get(struct netlink *netlink, uint32_t ifindex, struct netlink_link *link) {
  const struct ifinfomsg body = {.ifi_index = (int)ifindex};
  struct netlink_request request;

  *link = (struct netlink_link){.up = false};
  struct nlmsghdr *header =
      netlink_request_begin(&request, RTM_GETLINK, NLM_F_ACK, &body, sizeof body);
  return converse(netlink, header, link_read, link);
}

int netlink_link_delete(struct netlink *netlink, uint32_t ifindex, const char *name) {
  const struct ifinfomsg body = {.ifi_index = (int)ifindex};
  struct netlink_link link;
  struct netlink_request request;

  int result = netlink_link_get(netlink, ifindex, &link);
  if (result < 0) return result;
  if (strcmp(link.name, name) != 0) return -ENODEV;
  return netlink_change(netlink,
                        netlink_request_begin(&request, RTM_DELLINK, 0, &body, sizeof body));
}

int netlink_address_add(struct netlink *netlink, uint32_t ifindex,
                        const struct netlink_prefix *prefix) {
  const int family = netlink_family(prefix);
  /*
   * Duplicate address detection has nobody to ask on a point-to-point device of our own and would
   * delay the address.
   */
  const uint32_t flags = IFA_F_NOPREFIXROUTE | (family == AF_INET6 ? IFA_F_NODAD : 0u);
  const struct ifaddrmsg body = {.ifa_family = (uint8_t)family,
                                 .ifa_prefixlen = prefix->length,
                                 .ifa_scope = RT_SCOPE_UNIVERSE,
                                 .ifa_index = ifindex};
  struct netlink_request request;

  struct nlmsghdr *header =
      netlink_request_begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof body);
  netlink_attribute(header, IFA_LOCAL, prefix->address, netlink_address_size(family));
  netlink_attribute(header, IFA_ADDRESS, prefix->address, netlink_address_size(family));
  netlink_attribute(header, IFA_FLAGS, &flags, sizeof flags);
  return netlink_change(netlink, header);
}

static int route_change(struct netlink *netlink, uint16_t type, uint16_t flags, uint32_t ifindex,
                        const struct netlink_prefix *prefix) {
  const int family = netlink_family(prefix);
  const uint32_t best = 1;
  const struct rtmsg body = {.rtm_family = (uint8_t)family,
                             .rtm_dst_len = prefix->length,
                             .rtm_table = RT_TABLE_MAIN,
                             .rtm_protocol = NETLINK_ROUTE_PROTOCOL,
                             .rtm_scope = RT_SCOPE_LINK,
                             .rtm_type = RTN_UNICAST};
  struct netlink_request request;

  struct nlmsghdr *header = netlink_request_begin(&request, type, flags, &body, sizeof body);
  netlink_attribute(header, RTA_DST, prefix->address, netlink_address_size(family));
  netlink_attribute(header, RTA_OIF, &ifindex, sizeof ifindex);
  if (prefix->preferred && family == AF_INET6)
    netlink_attribute(header, RTA_PRIORITY, &best, sizeof best);
  return netlink_change(netlink, header);
}

int netlink_route_add(struct netlink *netlink, uint32_t ifindex,
                      const struct netlink_prefix *prefix) {
  /* Without NLM_F_EXCL an IPv4 route is put before those of the same prefix and metric. */
  const uint16_t flags = prefix->preferred && prefix->family == 4 ? 0 : NLM_F_EXCL;
  return route_change(netlink, RTM_NEWROUTE, (uint16_t)(NLM_F_CREATE | flags), ifindex, prefix);
}

int netlink_route_delete(struct netlink *netlink, uint32_t ifindex,
                         const struct netlink_prefix *prefix) {
  return route_change(netlink, RTM_DELROUTE, 0, ifindex, prefix);
}

/* Fills `prefix` from an address attribute; without one the address is all zeros. */
static bool prefix_read(struct netlink_prefix *prefix, int family, uint8_t length,
                        const struct rtattr *address) {
  const size_t size = netlink_address_size(family);

  *prefix = (struct netlink_prefix){.family = family == AF_INET ? 4 : 6, .length = length};
  if (length > size * 8) return false;
  if (address == NULL) return true;
  if (RTA_PAYLOAD(address) < size) return false;
  memcpy(prefix->address, RTA_DATA(address), size);
  return true;
}

struct address_dump {
  int family;
  netlink_address_function each;
  void *context;
};

static void address_read(void *context, const struct nlmsghdr *message) {
  const struct address_dump *request = context;
  const struct ifaddrmsg *body = NLMSG_DATA(message);
  const struct rtattr *table[IFA_LOCAL + 1];
  struct netlink_prefix prefix;

  if (message->nlmsg_type != RTM_NEWADDR || message->nlmsg_len < NLMSG_LENGTH(sizeof *body)) return;
  /* A family that the kernel doesn't have makes it dump all others. */
  if (body->ifa_family != request->family) return;
  attributes_parse(table, IFA_LOCAL + 1, IFA_RTA(body), IFA_PAYLOAD(message));
  const struct rtattr *network = table[IFA_ADDRESS] != NULL ? table[IFA_ADDRESS] : table[IFA_LOCAL];
  const struct rtattr *own = table[IFA_LOCAL] != NULL ? table[IFA_LOCAL] : table[IFA_ADDRESS];
  if (own == NULL) return;
  const uint8_t bits = (uint8_t)(8 * netlink_address_size(request->family));
  if (prefix_read(&prefix, request->family, bits, own))
    request->each(request->context, body->ifa_index, &prefix);
  if (prefix_read(&prefix, request->family, body->ifa_prefixlen, network))
    request->each(request->context, body->ifa_index, &prefix);
}

int netlink_each_address(struct netlink *netlink, int family, netlink_address_function each,
                         void *context) {
  struct address_dump reader = {
      .family = family == 4 ? AF_INET : AF_INET6, .each = each, .context = context};
  const struct ifaddrmsg body = {.ifa_family = (uint8_t)reader.family};
  struct netlink_request request;
  return dump(netlink, netlink_request_begin(&request, RTM_GETADDR, 0, &body, sizeof body),
              address_read, &reader);
}

/* Reads RTM_NEWROUTE or RTM_DELROUTE. False if it isn't a route in a table, or is malformed. */
static bool route_parse(const struct nlmsghdr *message, struct netlink_route *route) {
  const struct rtmsg *body = NLMSG_DATA(message);
  const struct rtattr *table[RTA_TABLE + 1];

  if (message->nlmsg_len < NLMSG_LENGTH(sizeof *body)) return false;
  if (body->rtm_family != AF_INET && body->rtm_family != AF_INET6) return false;
  if ((body->rtm_flags & RTM_F_CLONED) != 0) return false;
  attributes_parse(table, RTA_TABLE + 1, RTM_RTA(body), RTM_PAYLOAD(message));
  if (!prefix_read(&route->destination, body->rtm_family, body->rtm_dst_len, table[RTA_DST]))
    return false;
  route->table = attribute_u32(table[RTA_TABLE], body->rtm_table);
  route->metric = attribute_u32(table[RTA_PRIORITY], 0);
  route->ifindex = attribute_u32(table[RTA_OIF], 0);
  route->protocol = body->rtm_protocol;
  route->type = body->rtm_type;
  route->tos = body->rtm_tos;
  route->flags = (uint8_t)body->rtm_flags;
  const struct rtattr *hops = table[RTA_MULTIPATH];
  if (hops != NULL && RTA_PAYLOAD(hops) >= sizeof(struct rtnexthop)) {
    const struct rtnexthop *first = RTA_DATA(hops);
    route->ifindex = (uint32_t)first->rtnh_ifindex;
  }
  return true;
}

struct route_dump {
  int family;
  netlink_route_function each;
  void *context;
};

static void route_read(void *context, const struct nlmsghdr *message) {
  const struct route_dump *request = context;
  struct netlink_route route;

  if (message->nlmsg_type != RTM_NEWROUTE || !route_parse(message, &route)) return;
  /* A family that the kernel doesn't have makes it dump all others. */
  if (route.destination.family == request->family) request->each(request->context, &route);
}

int netlink_each_route(struct netlink *netlink, int family, uint8_t protocol,
                       netlink_route_function each, void *context) {
  struct route_dump reader = {.family = family, .each = each, .context = context};
  /* Older kernels don't filter by protocol. */
  const struct rtmsg body = {.rtm_family = family == 4 ? AF_INET : AF_INET6,
                             .rtm_protocol = protocol};
  struct netlink_request request;
  return dump(netlink, netlink_request_begin(&request, RTM_GETROUTE, 0, &body, sizeof body),
              route_read, &reader);
}

int netlink_watch_open(struct netlink *watch) {
  const int size = WATCH_BUFFER;
  struct sockaddr_nl groups = {.nl_family = AF_NETLINK,
                               .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
                                            RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE |
                                            RTMGRP_IPV4_RULE | RTMGRP_IPV6_RULE};

  int result = open_socket(watch, SOCK_NONBLOCK);
  if (result < 0) return result;
  /*
   * SO_RCVBUFFORCE needs CAP_NET_ADMIN; SO_RCVBUF is limited by net.core.rmem_max. An overrun is
   * noticed anyway.
   */
  if (setsockopt(watch->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
    (void)setsockopt(watch->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  return bind(watch->fd, (struct sockaddr *)&groups, sizeof groups) < 0 ? -errno : 0;
}

/* Reads a notification, if it is of a kind that netlink.h lists. */
static bool notice_parse(const struct nlmsghdr *message, struct netlink_notice *notice) {
  switch (message->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      const struct ifinfomsg *body = NLMSG_DATA(message);
      if (message->nlmsg_len < NLMSG_LENGTH(sizeof *body)) return false;
      *notice = (struct netlink_notice){.kind = NETLINK_LINK_CHANGED,
                                        .ifindex = (uint32_t)body->ifi_index};
      return true;
    }
    case RTM_DELADDR: {
      const struct ifaddrmsg *body = NLMSG_DATA(message);
      if (message->nlmsg_len < NLMSG_LENGTH(sizeof *body)) return false;
      *notice = (struct netlink_notice){.kind = NETLINK_ADDRESS_GONE, .ifindex = body->ifa_index};
      return true;
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      notice->kind = message->nlmsg_type == RTM_NEWROUTE ? NETLINK_ROUTE_NEW : NETLINK_ROUTE_GONE;
      if (!route_parse(message, &notice->route)) return false;
      notice->ifindex = notice->route.ifindex;
      return true;
    case RTM_NEWRULE:
    case RTM_DELRULE:
      *notice = (struct netlink_notice){.kind = NETLINK_RULE_CHANGED};
      return true;
    default:
      return false;
  }
}

int netlink_watch_read(struct netlink *watch, netlink_notice_function each, void *context) {
  struct netlink_notice notice;

  ssize_t length = receive(watch);
  if (length == -EAGAIN) return 0;
  if (length < 0) return (int)length;
  uint32_t left = (uint32_t)length;
  for (struct nlmsghdr *message = (struct nlmsghdr *)watch->buffer; NLMSG_OK(message, left);
       message = NLMSG_NEXT(message, left))
    if (notice_parse(message, &notice)) each(context, &notice);
  return 1;
}

bool netlink_prefix_equal(const struct netlink_prefix *a, const struct netlink_prefix *b) {
  return a->family == b->family && a->length == b->length &&
         memcmp(a->address, b->address, sizeof a->address) == 0;
}

bool netlink_prefix_overlap(const struct netlink_prefix *a, const struct netlink_prefix *b) {
  const unsigned length = a->length < b->length ? a->length : b->length;
  const unsigned whole = length / 8, rest = length % 8;

  if (a->family != b->family || memcmp(a->address, b->address, whole) != 0) return false;
  return rest == 0 || (uint8_t)(a->address[whole] ^ b->address[whole]) >> (8 - rest) == 0;
}
