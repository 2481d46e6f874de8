/*
 * routes.h - the set of captured prefixes, as routes to the device in the main table.
 *
 * A request names the whole set. What it has more is added, then what it has less is removed, so
 * that a destination that is in both sets is captured at every moment. Either the new set is in
 * force afterwards or, when something fails, the old one.
 *
 * A more specific route of somebody else's may stand beside ours, and wins; but no two tunnels may
 * share a range, because the one with the narrower prefix would silently take it from the other.
 */
#ifndef TUNNEL_HELPER_ROUTES_H
#define TUNNEL_HELPER_ROUTES_H

#include "failure.h"

struct route_set {
  size_t count;
  struct netlink_prefix prefixes[HELPER_MAX_PREFIXES]; /* sorted, no two equal */
};

/**
 * Reads `count` prefixes of a request into `set`. False if one isn't well-formed: family, length,
 * host or reserved bits.
 */
bool routes_parse(struct route_set *set, const struct helper_prefix *prefixes, size_t count);

/* Whether the set has the prefix; `*at` is its place, or where it would be. */
bool routes_find(const struct route_set *set, const struct netlink_prefix *prefix, size_t *at);

/* Puts `wanted` into force; `*current` is what is in force before and after. */
bool routes_apply(struct netlink *netlink, uint32_t ifindex, struct route_set *current,
                  const struct route_set *wanted, struct failure *failure);

#endif
