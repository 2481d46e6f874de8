#include "fuzz/kernel.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "fuzz/check.h"
#include "netlink_message.h"

#define METRIC6 1024u /* what IPv6 makes of none */

struct kernel machine;

/* Answers that have not been read yet. */
static struct {
  _Alignas(struct nlmsghdr) uint8_t data[KERNEL_MAX_ROUTES * 160];
  size_t length, read;
} answers;
static struct {
  uint8_t data[4096];
  size_t length;
} notice;

void kernel_reset(void) {
  machine = (struct kernel){.device = false};
  answers.length = answers.read = 0;
  notice.length = 0;
}

static void answer(const struct netlink_request *message) {
  const struct nlmsghdr *header = (const struct nlmsghdr *)message->data;
  CHECK(answers.length + NLMSG_ALIGN(header->nlmsg_len) <= sizeof answers.data);
  memcpy(answers.data + answers.length, message->data, NLMSG_ALIGN(header->nlmsg_len));
  answers.length += NLMSG_ALIGN(header->nlmsg_len);
}

static void end_with(const struct nlmsghdr *request, uint16_t type, int error) {
  const struct nlmsgerr body = {.error = error, .msg = *request};
  const char reason[] = "the kernel's reason\x1b";
  struct netlink_request message;
  struct nlmsghdr *header = netlink_request_begin(&message, type, NLM_F_CAPPED | NLM_F_ACK_TLVS,
                                                  &body, sizeof body);
  header->nlmsg_seq = request->nlmsg_seq;
  if (error != 0) netlink_attribute(header, NLMSGERR_ATTR_MSG, reason, sizeof reason);
  answer(&message);
}

static bool same_place(const struct netlink_route *a, const struct netlink_route *b) {
  return netlink_prefix_equal(&a->destination, &b->destination) && a->metric == b->metric &&
         a->table == b->table && a->tos == b->tos;
}

static bool same_target(const struct netlink_route *a, const struct netlink_route *b) {
  return a->ifindex == b->ifindex && a->type == b->type && a->protocol == b->protocol;
}

static int route_add(const struct netlink_route *route, bool exclusive) {
  for (size_t i = 0; i < machine.route_count; i++)
    if (same_place(&machine.routes[i], route) &&
        (exclusive || same_target(&machine.routes[i], route)))
      return -EEXIST;
  if (machine.route_count == KERNEL_MAX_ROUTES) return -ENOBUFS;
  /* The last one of equals comes first. */
  memmove(machine.routes + 1, machine.routes, machine.route_count * sizeof *route);
  machine.routes[0] = *route;
  machine.route_count++;
  return 0;
}

static int route_delete(const struct netlink_route *route, bool any_device, bool any_metric) {
  for (size_t i = 0; i < machine.route_count; i++) {
    const struct netlink_route *at = &machine.routes[i];
    if (!netlink_prefix_equal(&at->destination, &route->destination)) continue;
    if (at->type != route->type || at->protocol != route->protocol) continue;
    if (!any_device && at->ifindex != route->ifindex) continue;
    if (!any_metric && at->metric != route->metric) continue;
    memmove(&machine.routes[i], at + 1, (machine.route_count - i - 1) * sizeof *at);
    machine.route_count--;
    return 0;
  }
  return -ESRCH;
}

void kernel_add_route(const struct netlink_route *route) { (void)route_add(route, true); }

void kernel_remove_device(void) {
  size_t kept = 0;
  machine.device = machine.up = false;
  machine.address_count = 0;
  for (size_t i = 0; i < machine.route_count; i++)
    if (machine.routes[i].ifindex != KERNEL_DEVICE) machine.routes[kept++] = machine.routes[i];
  machine.route_count = kept;
}

static int change_route(const struct nlmsghdr *request) {
  const struct rtmsg *body = NLMSG_DATA(request);
  const struct rtattr *table[RTA_PRIORITY + 1];
  struct netlink_route route;

  CHECK(netlink_route_parse(request, &route));
  CHECK(route.table == RT_TABLE_MAIN && route.protocol == NETLINK_ROUTE_PROTOCOL);
  /* The kernel refuses host bits; the helper must never ask for such a route. */
  const struct netlink_prefix network =
      netlink_prefix_shortened(&route.destination, route.destination.length);
  CHECK(netlink_prefix_equal(&route.destination, &network));
  netlink_attributes_parse(table, RTA_PRIORITY + 1, RTM_RTA(body), RTM_PAYLOAD(request));
  const bool no_metric = table[RTA_PRIORITY] == NULL || route.metric == 0;
  if (route.destination.family == 6 && no_metric) route.metric = METRIC6;
  if (route.type == RTN_UNICAST) {
    CHECK(route.ifindex == KERNEL_DEVICE);
    if (!machine.device) return -ENODEV;
    if (!machine.up) return -ENETDOWN;
  }
  if (request->nlmsg_type == RTM_NEWROUTE)
    return route_add(&route, (request->nlmsg_flags & NLM_F_EXCL) != 0);
  return route_delete(&route, table[RTA_OIF] == NULL, no_metric);
}

static int change_link(const struct nlmsghdr *request) {
  const struct ifinfomsg *body = NLMSG_DATA(request);
  const struct rtattr *table[IFLA_IFALIAS + 1];

  CHECK(body->ifi_index == KERNEL_DEVICE);
  if (!machine.device) return -ENODEV;
  if (request->nlmsg_type == RTM_DELLINK) {
    kernel_remove_device();
    return 0;
  }
  netlink_attributes_parse(table, IFLA_IFALIAS + 1, IFLA_RTA(body), IFLA_PAYLOAD(request));
  if (table[IFLA_MTU] != NULL) {
    const uint32_t mtu = netlink_attribute_u32(table[IFLA_MTU], 0);
    CHECK(mtu >= 1280 && mtu <= 65535);
  }
  (void)netlink_attribute_text(table[IFLA_IFALIAS], machine.alias, sizeof machine.alias);
  if ((body->ifi_flags & IFF_UP) != 0) machine.up = true;
  return 0;
}

static int add_address(const struct nlmsghdr *request) {
  const struct ifaddrmsg *body = NLMSG_DATA(request);
  const struct rtattr *table[IFA_LOCAL + 1];
  struct kernel_address *address = &machine.addresses[machine.address_count];

  CHECK(body->ifa_index == KERNEL_DEVICE);
  if (!machine.device) return -ENODEV;
  CHECK(machine.address_count < KERNEL_MAX_ADDRESSES);
  netlink_attributes_parse(table, IFA_LOCAL + 1, IFA_RTA(body), IFA_PAYLOAD(request));
  CHECK(netlink_prefix_read(&address->prefix, body->ifa_family, body->ifa_prefixlen,
                            table[IFA_LOCAL]));
  address->ifindex = body->ifa_index;
  machine.address_count++;
  return 0;
}

/* The tunnel's device, or another; without a device by that number or name, nothing. */
static bool show_link(const struct nlmsghdr *request) {
  const struct ifinfomsg *asked = NLMSG_DATA(request);
  const struct rtattr *table[IFLA_IFALIAS + 1];
  const bool other = asked->ifi_index == KERNEL_OTHER;
  const struct ifinfomsg body = {.ifi_index = other ? KERNEL_OTHER : KERNEL_DEVICE,
                                 .ifi_flags = machine.up ? IFF_UP : 0};
  struct netlink_request message;

  netlink_attributes_parse(table, IFLA_IFALIAS + 1, IFLA_RTA(asked), IFLA_PAYLOAD(request));
  const bool own = asked->ifi_index == KERNEL_DEVICE || table[IFLA_IFNAME] != NULL;
  if (!other && !(own && machine.device)) return false;
  struct nlmsghdr *header =
      netlink_request_begin(&message, RTM_NEWLINK, 0, &body, sizeof body);
  header->nlmsg_seq = request->nlmsg_seq;
  netlink_attribute(header, IFLA_IFNAME, other ? "eth0" : "tun0", 5);
  if (!other) netlink_attribute(header, IFLA_IFALIAS, machine.alias, strlen(machine.alias));
  answer(&message);
  return true;
}

static void show_addresses(const struct nlmsghdr *request) {
  for (size_t i = 0; i < machine.address_count; i++) {
    const struct kernel_address *address = &machine.addresses[i];
    const int family = netlink_family(&address->prefix);
    const struct ifaddrmsg body = {.ifa_family = (uint8_t)family,
                                   .ifa_prefixlen = address->prefix.length,
                                   .ifa_index = address->ifindex};
    struct netlink_request message;
    struct nlmsghdr *header =
        netlink_request_begin(&message, RTM_NEWADDR, 0, &body, sizeof body);
    header->nlmsg_seq = request->nlmsg_seq;
    netlink_attribute(header, IFA_LOCAL, address->prefix.address, netlink_address_size(family));
    netlink_attribute(header, IFA_ADDRESS, address->prefix.address, netlink_address_size(family));
    answer(&message);
  }
}

static void show_routes(const struct nlmsghdr *request) {
  const struct rtmsg *asked = NLMSG_DATA(request);

  for (size_t i = 0; i < machine.route_count; i++) {
    const struct netlink_route *route = &machine.routes[i];
    const int family = netlink_family(&route->destination);
    const struct rtmsg body = {.rtm_family = (uint8_t)family,
                               .rtm_dst_len = route->destination.length,
                               .rtm_table = (uint8_t)route->table,
                               .rtm_protocol = route->protocol,
                               .rtm_type = route->type};
    struct netlink_request message;
    if (family != asked->rtm_family) continue;
    if (asked->rtm_protocol != RTPROT_UNSPEC && asked->rtm_protocol != route->protocol) continue;
    struct nlmsghdr *header =
        netlink_request_begin(&message, RTM_NEWROUTE, 0, &body, sizeof body);
    header->nlmsg_seq = request->nlmsg_seq;
    netlink_attribute(header, RTA_DST, route->destination.address, netlink_address_size(family));
    if (route->ifindex != 0)
      netlink_attribute(header, RTA_OIF, &route->ifindex, sizeof route->ifindex);
    if (route->metric != 0)
      netlink_attribute(header, RTA_PRIORITY, &route->metric, sizeof route->metric);
    if (route->gateway_count > 0)
      netlink_attribute(header, RTA_GATEWAY, route->gateways[0].address,
                        netlink_address_size(family));
    answer(&message);
  }
}

static int change(const struct nlmsghdr *request) {
  if (machine.fails_in > 0 && --machine.fails_in == 0) {
    machine.disturbed = true;
    return -machine.fails_with;
  }
  switch (request->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return change_link(request);
    case RTM_NEWADDR:
      return add_address(request);
    default:
      CHECK(request->nlmsg_type == RTM_NEWROUTE || request->nlmsg_type == RTM_DELROUTE);
      return change_route(request);
  }
}

ssize_t kernel_sendto(int fd, const void *data, size_t length, int flags,
                      const struct sockaddr *to, socklen_t size) {
  const struct nlmsghdr *request = data;
  (void)fd, (void)flags, (void)to, (void)size;
  CHECK(length == request->nlmsg_len && answers.read == answers.length);
  answers.length = answers.read = 0;
  switch (request->nlmsg_type) {
    case RTM_GETLINK:
      end_with(request, NLMSG_ERROR, show_link(request) ? 0 : -ENODEV);
      break;
    case RTM_GETADDR:
      show_addresses(request);
      end_with(request, NLMSG_DONE, 0);
      break;
    case RTM_GETROUTE:
      show_routes(request);
      end_with(request, NLMSG_DONE, 0);
      break;
    default:
      end_with(request, NLMSG_ERROR, change(request));
  }
  return (ssize_t)length;
}

void kernel_notify(const uint8_t *datagram, size_t length) {
  notice.length = length < sizeof notice.data ? length : sizeof notice.data;
  memcpy(notice.data, datagram, notice.length);
}

bool kernel_has_notice(void) { return notice.length > 0; }

ssize_t kernel_recvmsg(int fd, struct msghdr *header, int flags) {
  uint8_t *buffer = header->msg_iov->iov_base;
  const size_t capacity = header->msg_iov->iov_len;
  size_t length = notice.length;
  (void)flags;

  only_readable(buffer, capacity, capacity);
  header->msg_flags = 0;
  if (fd == KERNEL_NOTICES) {
    if (length == 0) {
      errno = EAGAIN;
      return -1;
    }
    memcpy(buffer, notice.data, length);
    notice.length = 0;
  } else {
    /* Nobody waits for an answer that doesn't come. */
    CHECK(answers.read < answers.length);
    const struct nlmsghdr *message = (const struct nlmsghdr *)(answers.data + answers.read);
    length = NLMSG_ALIGN(message->nlmsg_len);
    memcpy(buffer, message, length);
    answers.read += length;
  }
  only_readable(buffer, capacity, length);
  return (ssize_t)length;
}

/* The rtnetlink client itself, on this kernel. */
#define recvmsg kernel_recvmsg
#define sendto kernel_sendto
#include "netlink.c"
