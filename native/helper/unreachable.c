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
  bool more; /* was left than `left` has place for */
  size_t live_count, left_count;
  struct helper_prefix live_prefixes[HELPER_MAX_PREFIXES]; /* of other tunnels that run */
  bool is_closed[HELPER_MAX_PREFIXES]; /* of the wanted prefixes: there is the route of add() */
  struct closed_route left[HELPER_MAX_PREFIXES]; /* by tunnels that are gone */
} found;
static struct route_set live;

static int change(struct netlink *netlink, uint16_t type, uint16_t flags, uint32_t metric,
                  const struct netlink_prefix *prefix) {
  struct netlink_request request;
  struct nlmsghdr *header = netlink_route_begin(&request, type, flags, RTN_UNREACHABLE, prefix);

  netlink_attribute(header, RTA_PRIORITY, &metric, sizeof metric);
  return netlink_change(netlink, header);
}

static uint32_t metric_of(const struct netlink_prefix *prefix) {
  if (!prefix->preferred) return UNREACHABLE_METRIC;
  return prefix->family == 6 ? UNREACHABLE_METRIC_PREFERRED6 : 0;
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

static void live_consider(void *context, const struct netlink_route *route) {
  (void)context;
  if (route->protocol != NETLINK_ROUTE_PROTOCOL || route->table != RT_TABLE_MAIN) return;
  if (route->type == RTN_UNREACHABLE || route->ifindex == found.ifindex) return;
  if (found.live_count == HELPER_MAX_PREFIXES)
    found.full = true;
  else
    found.live_prefixes[found.live_count++] = packed(&route->destination);
}

static void closed_consider(void *context, const struct netlink_route *route) {
  const struct closed_route closed = {.prefix = route->destination, .metric = route->metric};
  const struct route_set *wanted = *(const struct route_set **)context;
  size_t at;

  if (route->protocol != NETLINK_ROUTE_PROTOCOL || route->table != RT_TABLE_MAIN) return;
  if (route->type != RTN_UNREACHABLE) return;
  if (routes_find(wanted, &closed.prefix, &at) &&
      closed.metric == metric_of(&wanted->prefixes[at])) {
    found.is_closed[at] = true;
    return;
  }
  if (routes_cover(&live, &closed.prefix)) return;
  if (found.left_count == HELPER_MAX_PREFIXES)
    found.more = true;
  else
    found.left[found.left_count++] = closed;
}

static bool too_many(struct failure *failure) {
  return failure_set(failure, HELPER_STEP_ROUTE, ENOBUFS, "too many routes of protocol 116");
}

static bool each_route(struct netlink *netlink, netlink_route_function each,
                       const struct route_set *wanted, struct failure *failure) {
  for (int family = 4; family <= 6; family += 2) {
    int result = netlink_each_route(netlink, family, NETLINK_ROUTE_PROTOCOL, each, &wanted);
    if (result < 0) return failure_set(failure, HELPER_STEP_ROUTE, result, "%s", netlink->reason);
  }
  return !found.full || too_many(failure);
}

static bool look_for_live(struct netlink *netlink, uint32_t ifindex, struct failure *failure) {
  found.ifindex = ifindex;
  found.full = false;
  found.live_count = 0;
  if (!each_route(netlink, live_consider, NULL, failure)) return false;
  return routes_parse(&live, found.live_prefixes, found.live_count) || too_many(failure);
}

static bool look_for_closed(struct netlink *netlink, const struct route_set *wanted,
                            struct failure *failure) {
  found.more = false;
  found.left_count = 0;
  memset(found.is_closed, 0, sizeof found.is_closed);
  return each_route(netlink, closed_consider, wanted, failure);
}

static bool remove_left(struct netlink *netlink, struct failure *failure) {
  for (size_t i = 0; i < found.left_count; i++) {
    const struct closed_route *route = &found.left[i];
    int result = change(netlink, RTM_DELROUTE, 0, route->metric, &route->prefix);
    if (result < 0 && result != -ESRCH)
      return failure_set_prefix(failure, HELPER_STEP_ROUTE, result, &route->prefix,
                                netlink->reason);
  }
  return true;
}

bool unreachable_apply(struct netlink *netlink, uint32_t ifindex, const struct route_set *captured,
                       const struct route_set *wanted, struct failure *failure) {
  for (size_t i = 0; i < wanted->count; i++)
    if (!routes_cover(captured, &wanted->prefixes[i]))
      return failure_set_prefix(failure, HELPER_STEP_ROUTE, EINVAL, &wanted->prefixes[i],
                                "isn't captured");
  if (!look_for_live(netlink, ifindex, failure) || !look_for_closed(netlink, wanted, failure))
    return false;

  for (size_t i = 0; i < wanted->count; i++) {
    if (found.is_closed[i]) continue;
    int result = add(netlink, ifindex, &wanted->prefixes[i]);
    if (result < 0)
      return failure_set_prefix(failure, HELPER_STEP_ROUTE, result, &wanted->prefixes[i],
                                netlink->reason);
  }
  for (int pass = 1;; pass++) {
    if (!remove_left(netlink, failure)) return false;
    if (!found.more) return true;
    if (pass == UNREACHABLE_PASSES) return too_many(failure);
    if (!look_for_closed(netlink, wanted, failure)) return false;
  }
}
