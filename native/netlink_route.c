#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "netlink.h"
#include "netlink_message.h"

/* IPv6 has no metric 0. What the kernel makes of none, and the best one. */
#define METRIC6 1024u
#define METRIC6_PREFERRED 1u

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

uint32_t netlink_route_metric(const struct netlink_prefix *prefix) {
  if (prefix->preferred) return prefix->family == 4 ? 0 : METRIC6_PREFERRED;
  return prefix->family == 4 || prefix->metric != 0 ? prefix->metric : METRIC6;
}

struct nlmsghdr *netlink_route_begin(struct netlink_request *request, uint16_t type,
                                     uint16_t flags, uint8_t kind,
                                     const struct netlink_prefix *prefix) {
  const int family = netlink_family(prefix);
  const struct rtmsg body = {.rtm_family = (uint8_t)family,
                             .rtm_dst_len = prefix->length,
                             .rtm_table = RT_TABLE_MAIN,
                             .rtm_protocol = NETLINK_ROUTE_PROTOCOL,
                             .rtm_scope = RT_SCOPE_UNIVERSE,
                             .rtm_type = kind};
  struct nlmsghdr *header = netlink_request_begin(request, type, flags, &body, sizeof body);

  netlink_attribute(header, RTA_DST, prefix->address, netlink_address_size(family));
  return header;
}

static int route_change(struct netlink *netlink, uint16_t type, uint16_t flags, uint32_t ifindex,
                        const struct netlink_prefix *prefix) {
  struct netlink_request request;
  struct nlmsghdr *header = netlink_route_begin(&request, type, flags, RTN_UNICAST, prefix);

  netlink_attribute(header, RTA_OIF, &ifindex, sizeof ifindex);
  /*
   * Always named for IPv6: without it, a deletion takes the first route to the prefix, of any
   * metric. For IPv4 the device tells them apart.
   */
  const uint32_t metric = netlink_route_metric(prefix);
  if (metric != 0) netlink_attribute(header, RTA_PRIORITY, &metric, sizeof metric);
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

bool netlink_prefix_read(struct netlink_prefix *prefix, int family, uint8_t length,
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
  netlink_attributes_parse(table, IFA_LOCAL + 1, IFA_RTA(body), IFA_PAYLOAD(message));
  const struct rtattr *network = table[IFA_ADDRESS] != NULL ? table[IFA_ADDRESS] : table[IFA_LOCAL];
  const struct rtattr *own = table[IFA_LOCAL] != NULL ? table[IFA_LOCAL] : table[IFA_ADDRESS];
  if (own == NULL) return;
  const uint8_t bits = (uint8_t)(8 * netlink_address_size(request->family));
  if (netlink_prefix_read(&prefix, request->family, bits, own))
    request->each(request->context, body->ifa_index, &prefix);
  if (netlink_prefix_read(&prefix, request->family, body->ifa_prefixlen, network))
    request->each(request->context, body->ifa_index, &prefix);
}

int netlink_each_address(struct netlink *netlink, int family, netlink_address_function each,
                         void *context) {
  struct address_dump reader = {
      .family = family == 4 ? AF_INET : AF_INET6, .each = each, .context = context};
  const struct ifaddrmsg body = {.ifa_family = (uint8_t)reader.family};
  struct netlink_request request;
  struct nlmsghdr *header = netlink_request_begin(&request, RTM_GETADDR, 0, &body, sizeof body);
  return netlink_dump(netlink, header, address_read, &reader);
}

/* Adds a gateway: RTA_GATEWAY, or RTA_VIA if it is of the other family than the route. */
static void gateway_add(struct netlink_route *route, int family, const struct rtattr *own,
                        const struct rtattr *other) {
  struct netlink_prefix *gateway = &route->gateways[route->gateway_count];
  const struct rtvia *via = other == NULL ? NULL : RTA_DATA(other);

  if (route->gateway_count == NETLINK_MAX_GATEWAYS) {
    route->has_more_gateways = route->has_more_gateways || own != NULL || via != NULL;
    return;
  }
  if (own != NULL) {
    const uint8_t bits = (uint8_t)(8 * netlink_address_size(family));
    if (netlink_prefix_read(gateway, family, bits, own)) route->gateway_count++;
    return;
  }
  if (via == NULL || RTA_PAYLOAD(other) < sizeof via->rtvia_family) return;
  if (via->rtvia_family != AF_INET && via->rtvia_family != AF_INET6) return;
  const size_t size = netlink_address_size(via->rtvia_family);
  if (RTA_PAYLOAD(other) < sizeof via->rtvia_family + size) return;
  *gateway = (struct netlink_prefix){.family = via->rtvia_family == AF_INET ? 4 : 6,
                                     .length = (uint8_t)(8 * size)};
  memcpy(gateway->address, via->rtvia_addr, size);
  route->gateway_count++;
}

/* The hops of a multipath route: the first one's device, and all gateways. */
static void hops_read(struct netlink_route *route, int family, const struct rtattr *hops) {
  const struct rtnexthop *hop = RTA_DATA(hops);
  size_t left = RTA_PAYLOAD(hops);

  for (bool first = true; left >= sizeof *hop && hop->rtnh_len >= sizeof *hop; first = false) {
    const struct rtattr *table[RTA_VIA + 1];
    if (hop->rtnh_len > left) return;
    if (first) route->ifindex = (uint32_t)hop->rtnh_ifindex;
    netlink_attributes_parse(table, RTA_VIA + 1, RTNH_DATA(hop), hop->rtnh_len - sizeof *hop);
    gateway_add(route, family, table[RTA_GATEWAY], table[RTA_VIA]);
    const size_t step = RTNH_ALIGN(hop->rtnh_len);
    if (step >= left) return;
    left -= step;
    hop = RTNH_NEXT(hop);
  }
}

bool netlink_route_parse(const struct nlmsghdr *message, struct netlink_route *route) {
  const struct rtmsg *body = NLMSG_DATA(message);
  const struct rtattr *table[RTA_VIA + 1];

  if (message->nlmsg_len < NLMSG_LENGTH(sizeof *body)) return false;
  if (body->rtm_family != AF_INET && body->rtm_family != AF_INET6) return false;
  if ((body->rtm_flags & RTM_F_CLONED) != 0) return false;
  netlink_attributes_parse(table, RTA_VIA + 1, RTM_RTA(body), RTM_PAYLOAD(message));
  if (!netlink_prefix_read(&route->destination, body->rtm_family, body->rtm_dst_len,
                           table[RTA_DST]))
    return false;
  route->table = netlink_attribute_u32(table[RTA_TABLE], body->rtm_table);
  route->metric = netlink_attribute_u32(table[RTA_PRIORITY], 0);
  route->ifindex = netlink_attribute_u32(table[RTA_OIF], 0);
  route->protocol = body->rtm_protocol;
  route->type = body->rtm_type;
  route->tos = body->rtm_tos;
  route->flags = (uint8_t)body->rtm_flags;
  route->gateway_count = 0;
  route->has_more_gateways = false;
  gateway_add(route, body->rtm_family, table[RTA_GATEWAY], table[RTA_VIA]);
  if (table[RTA_MULTIPATH] != NULL) hops_read(route, body->rtm_family, table[RTA_MULTIPATH]);
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

  if (message->nlmsg_type != RTM_NEWROUTE || !netlink_route_parse(message, &route)) return;
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
  struct nlmsghdr *header = netlink_request_begin(&request, RTM_GETROUTE, 0, &body, sizeof body);
  return netlink_dump(netlink, header, route_read, &reader);
}
