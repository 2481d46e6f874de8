/*
 * routes.h - keeps the set of captured prefixes as routes to the device in the main table.
 *
 * A request contains the whole set. New prefixes are added first, then old ones are removed, so a
 * destination in both sets is captured all the time. Afterwards the new set is in force, or the old
 * one if something failed.
 *
 * Other programs may have a more specific route, which wins. But two tunnels must not share a
 * range, because the one with the narrower prefix would silently take it from the other. A target
 * may contain another tunnel's block, but must not be in it: there that tunnel answers for names.
 *
 * An exception are single addresses that both want to share: those at which programs ask for names.
 * The kernel takes the route with the best metric, and when its device goes, the next one. Each
 * tunnel gets a metric behind all that are there, so whoever has an address first keeps it:
 *
 *   192.0.2.53 dev tun0 metric 16    asked; when tun0 goes, tun1 is
 *   192.0.2.53 dev tun1 metric 17
 *   192.0.2.53 dev tun0 metric 18    a tunnel that starts later, also with tun0's name and block
 *
 * Two that come at the same time look at the same metrics. The kernel adds a route only if there is
 * none with its metric (-EEXIST), so the second one takes the next. A route that stays keeps its
 * metric. One that somebody has removed gets it back, unless another tunnel has taken it meanwhile.
 * Another program's route with that metric is a conflict.
 *
 * A wider prefix of one of the tunnels may contain such an address if this tunnel shares it as
 * well. A route that is preferred comes before all of these. So it is refused beside them, unless
 * another program has a route to the address as well, which it is to win over.
 */
#ifndef TUNNEL_HELPER_ROUTES_H
#define TUNNEL_HELPER_ROUTES_H

#include "failure.h"

/*
 * Metrics of shared addresses. IPv6's usual one, 1024, isn't among them. When the last one is in
 * use, the search for a free one starts again at the first: the route then comes before others.
 */
#define ROUTES_SHARED_METRIC 16u
#define ROUTES_SHARED_COUNT 512u

struct route_set {
  size_t count;
  struct netlink_prefix prefixes[HELPER_MAX_PREFIXES]; /* sorted, no two equal */
};

/*
 * Reads `count` prefixes of a request into `set`. False if one has a wrong family or length, or
 * host or reserved bits.
 */
bool routes_parse(struct route_set *set, const struct helper_prefix *prefixes, size_t count);

/* Whether the set has the prefix. `*at` is its index, or where it would be inserted. */
bool routes_find(const struct route_set *set, const struct netlink_prefix *prefix, size_t *at);

/* Whether the set has the prefix, or one that contains it. */
bool routes_cover(const struct route_set *set, const struct netlink_prefix *prefix);

/*
 * Puts `wanted` into force, and notes the metrics of its shared addresses in it. `*current` is the
 * set in force, before and after.
 */
bool routes_apply(struct netlink *netlink, uint32_t ifindex, struct route_set *current,
                  struct route_set *wanted, struct failure *failure);

/*
 * Adds the route of a prefix. If it is shared, and another tunnel has got its metric meanwhile, the
 * next free one is taken and noted in the prefix. Returns 0 or a negative errno; -EEXIST if another
 * program has such a route.
 */
int routes_add(struct netlink *netlink, uint32_t ifindex, struct netlink_prefix *prefix);

#endif
