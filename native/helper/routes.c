#include "routes.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "block.h"

static int prefix_compare(const struct netlink_prefix *a, const struct netlink_prefix *b) {
  if (a->family != b->family) return a->family < b->family ? -1 : 1;
  int order = memcmp(a->address, b->address, sizeof a->address);
  if (order != 0) return order;
  return (a->length > b->length) - (a->length < b->length);
}

/* Moves the prefix at `at` down to its place in a heap with the greatest on top. */
static void heap_sift(struct netlink_prefix *prefixes, size_t at, size_t count) {
  const struct netlink_prefix moved = prefixes[at];

  for (size_t child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && prefix_compare(&prefixes[child], &prefixes[child + 1]) < 0) child++;
    if (prefix_compare(&moved, &prefixes[child]) >= 0) break;
    prefixes[at] = prefixes[child];
  }
  prefixes[at] = moved;
}

/* Heapsort: qsort(3) of some libraries takes memory and asks the kernel how much there is. */
static void prefixes_sort(struct netlink_prefix *prefixes, size_t count) {
  for (size_t at = count / 2; at > 0; at--) heap_sift(prefixes, at - 1, count);
  for (size_t end = count; end > 1; end--) {
    const struct netlink_prefix greatest = prefixes[0];
    prefixes[0] = prefixes[end - 1];
    prefixes[end - 1] = greatest;
    heap_sift(prefixes, 0, end - 1);
  }
}

static bool prefix_parse(struct netlink_prefix *prefix, const struct helper_prefix *from) {
  const unsigned bits = from->family == 4 ? 32 : 128;

  if ((from->family != 4 && from->family != 6) || from->length > bits) return false;
  if ((from->flags & ~(HELPER_PREFERRED | HELPER_SHARED)) != 0 || from->reserved != 0) return false;
  if ((from->flags & HELPER_SHARED) != 0 && from->length != bits) return false;
  /* All bits after the prefix must be zero: the host bits and, for IPv4, the rest of the field. */
  for (unsigned bit = from->length; bit < 8 * sizeof from->address; bit++)
    if ((from->address[bit / 8] & (0x80u >> bit % 8)) != 0) return false;
  prefix->family = from->family;
  prefix->length = from->length;
  prefix->preferred = (from->flags & HELPER_PREFERRED) != 0;
  /* shared_choose() gives it the metric that it is added with. */
  prefix->metric = (from->flags & HELPER_SHARED) != 0 ? ROUTES_SHARED_METRIC : 0;
  memcpy(prefix->address, from->address, sizeof prefix->address);
  return true;
}

/* A prefix that is named twice: an override names again what is captured. */
static void prefix_unite(struct netlink_prefix *prefix, const struct netlink_prefix *again) {
  prefix->preferred = prefix->preferred || again->preferred;
  if (again->metric == 0) prefix->metric = 0;
}

bool routes_parse(struct route_set *set, const struct helper_prefix *prefixes, size_t count) {
  size_t kept = 0;

  if (count > HELPER_MAX_PREFIXES) return false;
  for (size_t i = 0; i < count; i++)
    if (!prefix_parse(&set->prefixes[i], &prefixes[i])) return false;
  prefixes_sort(set->prefixes, count);
  for (size_t i = 0; i < count; i++) {
    const struct netlink_prefix *prefix = &set->prefixes[i];
    if (kept > 0 && netlink_prefix_equal(&set->prefixes[kept - 1], prefix))
      prefix_unite(&set->prefixes[kept - 1], prefix);
    else
      set->prefixes[kept++] = *prefix;
  }
  set->count = kept;
  return true;
}

bool routes_find(const struct route_set *set, const struct netlink_prefix *prefix, size_t *at) {
  size_t low = 0, high = set->count;

  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (prefix_compare(&set->prefixes[middle], prefix) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  *at = low;
  return low < set->count && netlink_prefix_equal(&set->prefixes[low], prefix);
}

static bool set_has(const struct route_set *set, const struct netlink_prefix *prefix) {
  size_t at;
  return routes_find(set, prefix, &at);
}

bool routes_cover(const struct route_set *set, const struct netlink_prefix *prefix) {
  for (unsigned length = 0; length <= prefix->length; length++) {
    const struct netlink_prefix wider = netlink_prefix_shortened(prefix, length);
    if (set_has(set, &wider)) return true;
  }
  return false;
}

/* Another program's route that conflicts with a prefix to be added. */
struct conflict {
  const struct route_set *current, *wanted;
  uint32_t ifindex;
  bool found;
  struct netlink_prefix shared; /* what both would cover */
  struct netlink_route route;
};

/* For IPv4 preferred routes may also differ from others by their place (bring_forward()). */
static bool is_same_route(const struct netlink_prefix *a, const struct netlink_prefix *b) {
  return netlink_route_metric(a) == netlink_route_metric(b);
}

/* Whether the wanted prefix at `at` has no route yet, or one of another metric. */
static bool is_added(const struct conflict *conflict, size_t at) {
  const struct netlink_prefix *prefix = &conflict->wanted->prefixes[at];
  size_t before;

  return !routes_find(conflict->current, prefix, &before) ||
         !is_same_route(&conflict->current->prefixes[before], prefix);
}

/*
 * Which of the wanted prefixes another tunnel shares, and to which another program has a route.
 * Static, because they are large.
 */
static bool shared_with_others[HELPER_MAX_PREFIXES], routed_by_others[HELPER_MAX_PREFIXES];

static bool is_shared(const struct netlink_route *route) {
  const uint32_t first = ROUTES_SHARED_METRIC;
  return route->metric >= first && route->metric < first + ROUTES_SHARED_COUNT;
}

/* What a tunnel that shares addresses finds there. */
struct shared {
  struct route_set *wanted;
  uint32_t ifindex;
};

static void shared_consider(void *context, const struct netlink_route *route) {
  const struct shared *shared = context;
  size_t at;

  if (route->table != RT_TABLE_MAIN || route->tos != 0 || !is_shared(route)) return;
  if (route->protocol != NETLINK_ROUTE_PROTOCOL || route->ifindex == shared->ifindex) return;
  if (!routes_find(shared->wanted, &route->destination, &at)) return;
  struct netlink_prefix *prefix = &shared->wanted->prefixes[at];
  if (prefix->metric != 0 && prefix->metric <= route->metric) prefix->metric = route->metric + 1;
}

/*
 * Gives each shared prefix of `wanted` the metric of its route: the one that it has in `current`,
 * or one behind those of the tunnels that are there.
 */
static int shared_choose(struct netlink *netlink, uint32_t ifindex, const struct route_set *current,
                         struct route_set *wanted) {
  struct shared shared = {.wanted = wanted, .ifindex = ifindex};
  bool any = false;

  for (size_t i = 0; i < wanted->count; i++) {
    if (wanted->prefixes[i].metric != 0) wanted->prefixes[i].metric = ROUTES_SHARED_METRIC;
    any = any || wanted->prefixes[i].metric != 0;
  }
  for (int family = 4; any && family <= 6; family += 2) {
    int result =
        netlink_each_route(netlink, family, NETLINK_ROUTE_PROTOCOL, shared_consider, &shared);
    if (result < 0) return result;
  }
  for (size_t i = 0; any && i < wanted->count; i++) {
    struct netlink_prefix *prefix = &wanted->prefixes[i];
    size_t at;
    if (prefix->metric == 0) continue;
    if (prefix->metric == ROUTES_SHARED_METRIC + ROUTES_SHARED_COUNT)
      prefix->metric = ROUTES_SHARED_METRIC;
    if (!routes_find(current, prefix, &at)) continue;
    const struct netlink_prefix *before = &current->prefixes[at];
    /* The metric of a route that is preferred was another one. */
    if (before->metric != 0 && !before->preferred) prefix->metric = before->metric;
  }
  return 0;
}

/* Whether another program has the route in whose place that of a prefix would be. */
struct place {
  const struct netlink_prefix *prefix;
  bool taken;
};

static void place_consider(void *context, const struct netlink_route *route) {
  struct place *place = context;

  if (route->table != RT_TABLE_MAIN || route->tos != 0) return;
  if (route->protocol == NETLINK_ROUTE_PROTOCOL || route->metric != place->prefix->metric) return;
  if (netlink_prefix_equal(&route->destination, place->prefix)) place->taken = true;
}

int routes_add(struct netlink *netlink, uint32_t ifindex, struct netlink_prefix *prefix) {
  const uint32_t last = ROUTES_SHARED_METRIC + ROUTES_SHARED_COUNT - 1;

  for (;;) {
    int result = netlink_route_add(netlink, ifindex, prefix);
    if (result != -EEXIST || prefix->metric == 0 || prefix->preferred || prefix->metric == last)
      return result;
    struct place place = {.prefix = prefix};
    int looked =
        netlink_each_route(netlink, prefix->family, RTPROT_UNSPEC, place_consider, &place);
    if (looked < 0 || place.taken) return result;
    prefix->metric++;
  }
}

static void others_consider(void *context, const struct netlink_route *route) {
  const struct conflict *conflict = context;
  size_t at;

  if (route->table != RT_TABLE_MAIN || route->tos != 0) return;
  if (!routes_find(conflict->wanted, &route->destination, &at)) return;
  if (route->protocol != NETLINK_ROUTE_PROTOCOL)
    routed_by_others[at] = true;
  else if (route->ifindex != conflict->ifindex && is_shared(route))
    shared_with_others[at] = conflict->wanted->prefixes[at].metric != 0;
}

/*
 * Whether this tunnel and another one both share exactly this address. A preferred route comes
 * before that of the other one, so it must have another program's route to win over.
 */
static bool shares(const struct conflict *conflict, const struct netlink_route *route) {
  size_t at;
  if (!is_shared(route) || !routes_find(conflict->wanted, &route->destination, &at)) return false;
  const struct netlink_prefix *prefix = &conflict->wanted->prefixes[at];
  return prefix->metric != 0 && (!prefix->preferred || routed_by_others[at]);
}

/*
 * Whether a prefix to be added is `prefix` or within it: that one is in conflict. Shared addresses
 * are not, where another tunnel shares them.
 */
static bool within_find(struct conflict *conflict, const struct netlink_prefix *prefix) {
  const struct route_set *wanted = conflict->wanted;
  size_t at;

  /* Prefixes within it come after it in the set's order. */
  (void)routes_find(wanted, prefix, &at);
  for (; at < wanted->count && netlink_prefix_overlap(&wanted->prefixes[at], prefix); at++) {
    if (!is_added(conflict, at) || shared_with_others[at]) continue;
    conflict->shared = wanted->prefixes[at];
    return true;
  }
  return false;
}

/*
 * Whether a prefix to be added contains `prefix` or is within it. The narrower of the two is
 * in conflict.
 */
static bool overlap_find(struct conflict *conflict, const struct netlink_prefix *prefix) {
  const struct route_set *wanted = conflict->wanted;
  size_t at;

  for (unsigned length = 0; length <= prefix->length; length++) {
    const struct netlink_prefix wider = netlink_prefix_shortened(prefix, length);
    if (!routes_find(wanted, &wider, &at) || !is_added(conflict, at)) continue;
    conflict->shared = *prefix;
    return true;
  }
  return within_find(conflict, prefix);
}

/* Whether a prefix to be added is the same, and isn't preferred to it. */
static bool adds_beside(const struct conflict *conflict, const struct netlink_prefix *prefix) {
  size_t at;

  return routes_find(conflict->wanted, prefix, &at) && !conflict->wanted->prefixes[at].preferred &&
         is_added(conflict, at);
}

static void conflict_consider(void *context, const struct netlink_route *route) {
  struct conflict *conflict = context;
  const struct netlink_prefix *destination = &route->destination;

  if (conflict->found || route->table != RT_TABLE_MAIN || route->tos != 0) return;
  if (route->ifindex == conflict->ifindex && route->protocol == NETLINK_ROUTE_PROTOCOL) return;
  /* Left by a tunnel that is gone, or behind the routes of one that runs (unreachable.h). */
  if (route->protocol == NETLINK_ROUTE_PROTOCOL && route->type == RTN_UNREACHABLE) return;
  if (route->protocol == NETLINK_ROUTE_PROTOCOL && shares(conflict, route)) return;
  conflict->shared = *destination;
  /* What contains another tunnel's block leaves it alone. Its servers' addresses are inside. */
  if (route->protocol == NETLINK_ROUTE_PROTOCOL)
    conflict->found = block_is(destination) ? within_find(conflict, destination)
                                            : overlap_find(conflict, destination);
  else
    conflict->found = adds_beside(conflict, destination);
  conflict->route = *route;
}

/* A name for the target of a route. */
static const char *route_target(struct netlink *netlink, const struct netlink_route *route,
                                struct netlink_link *link) {
  switch (route->type) {
    case RTN_BLACKHOLE:
      return "blackhole";
    case RTN_UNREACHABLE:
      return "unreachable";
    case RTN_PROHIBIT:
      return "prohibit";
    case RTN_THROW:
      return "throw";
    default:
      return netlink_link_get(netlink, route->ifindex, link) == 0 ? link->name : "";
  }
}

/*
 * The kernel would add our route beside one with another metric, but one of the two would then
 * silently lose. So there must be no other route to the prefix. False, with the failure, if there
 * is one. `protocol`: check only routes with this protocol.
 */
static bool conflict_free(struct netlink *netlink, uint32_t ifindex, uint8_t protocol,
                          const struct route_set *current, const struct route_set *wanted,
                          struct failure *failure) {
  struct conflict conflict = {.current = current, .wanted = wanted, .ifindex = ifindex};
  struct netlink_link link;

  memset(shared_with_others, 0, sizeof shared_with_others);
  memset(routed_by_others, 0, sizeof routed_by_others);
  for (int family = 4; family <= 6; family += 2) {
    int result = netlink_each_route(netlink, family, RTPROT_UNSPEC, others_consider, &conflict);
    if (result == 0)
      result = netlink_each_route(netlink, family, protocol, conflict_consider, &conflict);
    if (result < 0) return failure_set(failure, HELPER_STEP_ROUTE, result, "%s", netlink->reason);
  }
  if (!conflict.found) return true;
  return failure_set_prefix(failure, HELPER_STEP_ROUTE,
                            conflict.route.protocol == NETLINK_ROUTE_PROTOCOL ? EBUSY : EEXIST,
                            &conflict.shared, route_target(netlink, &conflict.route, &link));
}

/* Whether `set` has the route to be made for `prefix`. */
static bool has_route(const struct route_set *set, const struct netlink_prefix *prefix) {
  size_t at;
  return routes_find(set, prefix, &at) && is_same_route(&set->prefixes[at], prefix);
}

/*
 * Puts IPv4's routes that are preferred from now on before others of the same prefix and metric.
 * The kernel doesn't move a route, so each is away for a moment.
 */
static bool bring_forward(struct netlink *netlink, uint32_t ifindex,
                          const struct route_set *current, const struct route_set *wanted,
                          struct failure *failure) {
  for (size_t i = 0; i < wanted->count; i++) {
    const struct netlink_prefix *prefix = &wanted->prefixes[i];
    size_t at;
    if (prefix->family != 4 || !prefix->preferred) continue;
    if (!routes_find(current, prefix, &at) || current->prefixes[at].preferred) continue;
    if (!is_same_route(&current->prefixes[at], prefix)) continue; /* it is new, and comes first */
    int result = netlink_route_delete(netlink, ifindex, prefix);
    if (result == 0 || result == -ESRCH) {
      result = netlink_route_add(netlink, ifindex, prefix);
      if (result < 0) (void)netlink_route_add(netlink, ifindex, &current->prefixes[at]);
    }
    if (result < 0)
      return failure_set_prefix(failure, HELPER_STEP_ROUTE, result, prefix, netlink->reason);
  }
  return true;
}

/*
 * Adds the routes in `wanted` but not in `than`, up to index `limit` of `wanted`. Returns the
 * index at which it failed.
 */
static size_t add_missing(struct netlink *netlink, uint32_t ifindex, struct route_set *wanted,
                          const struct route_set *than, size_t limit, int *result) {
  for (size_t i = 0; i < limit; i++) {
    if (has_route(than, &wanted->prefixes[i])) continue;
    *result = routes_add(netlink, ifindex, &wanted->prefixes[i]);
    if (*result < 0) return i;
  }
  return limit;
}

/*
 * Removes the routes in `old` but not in `than`, in the same way. A route that somebody else has
 * already removed is not a failure.
 */
static size_t remove_surplus(struct netlink *netlink, uint32_t ifindex, const struct route_set *old,
                             const struct route_set *than, size_t limit, int *result) {
  for (size_t i = 0; i < limit; i++) {
    if (has_route(than, &old->prefixes[i])) continue;
    int removed = netlink_route_delete(netlink, ifindex, &old->prefixes[i]);
    if (removed < 0 && removed != -ESRCH) {
      *result = removed;
      return i;
    }
  }
  return limit;
}

bool routes_apply(struct netlink *netlink, uint32_t ifindex, struct route_set *current,
                  struct route_set *wanted, struct failure *failure) {
  int result = shared_choose(netlink, ifindex, current, wanted), undone = 0;

  if (result < 0) return failure_set(failure, HELPER_STEP_ROUTE, result, "%s", netlink->reason);
  if (!conflict_free(netlink, ifindex, RTPROT_UNSPEC, current, wanted, failure)) return false;

  size_t added = add_missing(netlink, ifindex, wanted, current, wanted->count, &result);
  if (result < 0) {
    failure_set_prefix(failure, HELPER_STEP_ROUTE, result, &wanted->prefixes[added],
                       netlink->reason);
    (void)remove_surplus(netlink, ifindex, wanted, current, added, &undone);
    /* Somebody added a route since the check: report whose it is. */
    if (result == -EEXIST)
      (void)conflict_free(netlink, ifindex, RTPROT_UNSPEC, current, wanted, failure);
    return false;
  }
  /*
   * The kernel refuses the same prefix to a second tunnel, but not an overlapping one. Two tunnels
   * may come at the same time, so each checks again.
   */
  if (!conflict_free(netlink, ifindex, NETLINK_ROUTE_PROTOCOL, current, wanted, failure) ||
      !bring_forward(netlink, ifindex, current, wanted, failure)) {
    (void)remove_surplus(netlink, ifindex, wanted, current, wanted->count, &undone);
    return false;
  }

  size_t removed = remove_surplus(netlink, ifindex, current, wanted, current->count, &result);
  if (result < 0) {
    failure_set_prefix(failure, HELPER_STEP_ROUTE, result, &current->prefixes[removed],
                       netlink->reason);
    (void)add_missing(netlink, ifindex, current, wanted, removed, &undone);
    (void)remove_surplus(netlink, ifindex, wanted, current, wanted->count, &undone);
    return false;
  }
  *current = *wanted;
  return true;
}
