#include "unreachable.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "netlink_message.h"

/* As it is found in the table: of a prefix there may be two, with different metrics. */
struct closed_route {
  struct netlink_prefix prefix;
  uint32_t metric;
};

/* What is in the main table. Static, because it is too large for the stack. */
static struct {
  uint32_t ifindex;
  bool full;
  size_t closed_count, live_count;
  struct closed_route closed[HELPER_MAX_PREFIXES];
  struct helper_prefix closed_prefixes[HELPER_MAX_PREFIXES];
  struct helper_prefix live_prefixes[HELPER_MAX_PREFIXES]; /* of other tunnels that run */
} found;
static struct route_set closed, live;

static int change(struct netlink *netlink, uint16_t type, uint16_t flags, uint32_t metric,
                  const struct netlink_prefix *prefix) {
  const int family = netlink_family(prefix);
  const struct rtmsg body = {.rtm_family = (uint8_t)family,
                             .rtm_dst_len = prefix->length,
                             .rtm_table = RT_TABLE_MAIN,
                             .rtm_protocol = NETLINK_ROUTE_PROTOCOL,
                             .rtm_scope = RT_SCOPE_UNIVERSE,
                             .rtm_type = RTN_UNREACHABLE};
  struct netlink_request request;

  struct nlmsghdr *header = netlink_request_begin(&request, type, flags, &body, sizeof body);
  netlink_attribute(header, RTA_DST, prefix->address, netlink_address_size(family));
  netlink_attribute(header, RTA_PRIORITY, &metric, sizeof metric);
  return netlink_change(netlink, header);
}

static uint32_t metric_of(const struct netlink_prefix *prefix) {
  if (!prefix->preferred) return UNREACHABLE_METRIC;
  return prefix->family == 6 ? UNREACHABLE_METRIC_PREFERRED6 : 0;
}

/* Whether there is the route that add() makes. */
static bool is_closed(const struct netlink_prefix *prefix) {
  size_t at;

  if (!routes_find(&closed, prefix, &at)) return false;
  for (size_t i = 0; i < found.closed_count; i++)
    if (netlink_prefix_equal(&found.closed[i].prefix, prefix) &&
        found.closed[i].metric == metric_of(prefix))
      return true;
  return false;
}

static int add(struct netlink *netlink, uint32_t ifindex, const struct netlink_prefix *prefix) {
  if (!prefix->preferred || prefix->family == 6)
    return change(netlink, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, metric_of(prefix), prefix);
  /* Among equals of IPv4 the last one that is added comes first: this one, then the device's. */
  int result = change(netlink, RTM_NEWROUTE, NLM_F_CREATE, 0, prefix);
  if (result < 0) return result;
  result = netlink_route_delete(netlink, ifindex, prefix);
  if (result == 0) result = netlink_route_add(netlink, ifindex, prefix);
  if (result < 0) (void)change(netlink, RTM_DELROUTE, 0, 0, prefix);
  return result;
}

static struct helper_prefix packed(const struct netlink_prefix *prefix) {
  struct helper_prefix same = {.family = prefix->family, .length = prefix->length};
  memcpy(same.address, prefix->address, sizeof same.address);
  return same;
}

static void consider(void *context, const struct netlink_route *route) {
  (void)context;
  if (route->protocol != NETLINK_ROUTE_PROTOCOL || route->table != RT_TABLE_MAIN) return;
  const bool closes = route->type == RTN_UNREACHABLE;
  if (!closes && route->ifindex == found.ifindex) return;
  if ((closes ? found.closed_count : found.live_count) == HELPER_MAX_PREFIXES) {
    found.full = true;
  } else if (closes) {
    const size_t at = found.closed_count++;
    found.closed[at] =
        (struct closed_route){.prefix = route->destination, .metric = route->metric};
    found.closed_prefixes[at] = packed(&route->destination);
  } else {
    found.live_prefixes[found.live_count++] = packed(&route->destination);
  }
}

static bool look(struct netlink *netlink, uint32_t ifindex, struct failure *failure) {
  found.ifindex = ifindex;
  found.full = false;
  found.closed_count = found.live_count = 0;
  for (int family = 4; family <= 6; family += 2) {
    int result = netlink_each_route(netlink, family, NETLINK_ROUTE_PROTOCOL, consider, NULL);
    if (result < 0) return failure_set(failure, HELPER_STEP_ROUTE, result, "%s", netlink->reason);
  }
  if (found.full || !routes_parse(&closed, found.closed_prefixes, found.closed_count, 0) ||
      !routes_parse(&live, found.live_prefixes, found.live_count, 0))
    return failure_set(failure, HELPER_STEP_ROUTE, ENOBUFS, "too many routes of protocol 116");
  return true;
}

bool unreachable_apply(struct netlink *netlink, uint32_t ifindex, const struct route_set *captured,
                       const struct route_set *wanted, struct failure *failure) {
  size_t at;

  for (size_t i = 0; i < wanted->count; i++)
    if (!routes_cover(captured, &wanted->prefixes[i]))
      return failure_set_prefix(failure, HELPER_STEP_ROUTE, EINVAL, &wanted->prefixes[i],
                                "isn't captured");
  if (!look(netlink, ifindex, failure)) return false;

  for (size_t i = 0; i < wanted->count; i++) {
    if (is_closed(&wanted->prefixes[i])) continue;
    int result = add(netlink, ifindex, &wanted->prefixes[i]);
    if (result < 0)
      return failure_set_prefix(failure, HELPER_STEP_ROUTE, result, &wanted->prefixes[i],
                                netlink->reason);
  }
  for (size_t i = 0; i < found.closed_count; i++) {
    const struct closed_route *route = &found.closed[i];
    const bool is_wanted = routes_find(wanted, &route->prefix, &at) &&
                           route->metric == metric_of(&wanted->prefixes[at]);
    if (is_wanted || routes_cover(&live, &route->prefix)) continue;
    int result = change(netlink, RTM_DELROUTE, 0, route->metric, &route->prefix);
    if (result < 0 && result != -ESRCH)
      return failure_set_prefix(failure, HELPER_STEP_ROUTE, result, &route->prefix,
                                netlink->reason);
  }
  return true;
}
