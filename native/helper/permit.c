#include "permit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "block.h"
#include "special.h"
#include "surroundings.h"

/* Static, because it is large. */
static struct surroundings surroundings;

bool permit_read(struct permit *permit, const struct client *client, struct failure *failure) {
  char error[RULES_ERROR];

  permit->unlimited = client->uid == 0;
  permit->administrator = client_is_administrator(client);
  if (permit->unlimited || rules_read(&permit->rules, client, error)) return true;
  return failure_set(failure, HELPER_STEP_RULES, EINVAL, "%s", error);
}

static bool refused(struct failure *failure, const struct netlink_prefix *prefix, const char *why,
                    const struct netlink_prefix *whole, const char *name) {
  char text[PREFIX_TEXT], reason[sizeof failure->detail];

  snprintf(reason, sizeof reason, "%s %s %s", why,
           whole == NULL ? "" : prefix_format(whole, text), name);
  return failure_set_prefix(failure, HELPER_STEP_PERMIT, EPERM, prefix, reason);
}

static bool is_listed(const struct rules *rules, const struct netlink_prefix *prefix) {
  for (size_t i = 0; i < rules->count; i++)
    if (netlink_prefix_contains(&rules->prefixes[i], prefix)) return true;
  return false;
}

/* Whether the administrator has named the special range, or a part of it with the prefix inside. */
static bool is_listed_special(const struct rules *rules, const struct special_range *range,
                              const struct netlink_prefix *prefix) {
  for (size_t i = 0; i < rules->count; i++)
    if (netlink_prefix_contains(&range->prefix, &rules->prefixes[i]) &&
        netlink_prefix_contains(&rules->prefixes[i], prefix))
      return true;
  return false;
}

/* How much of the Internet the default still permits: IPv4 in addresses, IPv6 in /64. */
struct budget {
  uint64_t left[2];
  const struct netlink_prefix *counted; /* the last one; those inside it count with it */
};

static bool budget_take(struct budget *budget, const struct netlink_prefix *prefix) {
  const unsigned unit = prefix->family == 4 ? 32 : 64;
  const uint64_t size = prefix->length >= unit ? 1 : UINT64_C(1) << (unit - prefix->length);
  uint64_t *left = &budget->left[prefix->family == 4 ? 0 : 1];

  if (special_is_private(prefix)) return true;
  if (budget->counted != NULL && netlink_prefix_contains(budget->counted, prefix)) return true;
  budget->counted = prefix;
  if (size > *left) return false;
  *left -= size;
  return true;
}

static bool special_refused(struct failure *failure, const struct netlink_prefix *prefix,
                            const struct special_range *range) {
  return refused(failure, prefix, "special", &range->prefix, range->name);
}

static bool range_permitted(const struct permit *permit, struct budget *budget,
                            const struct netlink_prefix *prefix, struct failure *failure) {
  const struct rules *rules = &permit->rules;
  const struct special_range *range = special_find(prefix, true);
  const unsigned least = prefix->family == 4 ? PERMIT_LENGTH4 : PERMIT_LENGTH6;

  if (block_in_range(prefix)) return true;
  if (range != NULL && is_listed_special(rules, range, prefix)) return true;
  if (is_listed(rules, prefix)) return range == NULL || special_refused(failure, prefix, range);
  if (!rules->usual) return refused(failure, prefix, "unlisted", NULL, "");
  if (prefix->length < least)
    return permit->administrator || refused(failure, prefix, "wide", NULL, "");
  /* What is left of 0/0 when something is cut out of it is judged as 0/0 is. */
  if (range != NULL) return special_refused(failure, prefix, range);
  if (permit->administrator) return true;
  if ((range = special_find(prefix, false)) != NULL)
    return special_refused(failure, prefix, range);
  return budget_take(budget, prefix) || refused(failure, prefix, "much", NULL, "");
}

/* Whether no other device is connected to these addresses. */
static bool is_apart(struct netlink *netlink, const struct netlink_prefix *prefix,
                     struct failure *failure) {
  struct netlink_link link;

  for (size_t i = 0; i < surroundings.network_count; i++) {
    const struct connected *network = &surroundings.networks[i];
    if (!netlink_prefix_contains(&network->prefix, prefix)) continue;
    if (netlink_link_get(netlink, network->ifindex, &link) < 0) strcpy(link.name, "?");
    return refused(failure, prefix, "connected", &network->prefix, link.name);
  }
  return true;
}

static bool leaves_gateways(const struct netlink_prefix *prefix, struct failure *failure) {
  for (size_t i = 0; i < surroundings.gateway_count; i++) {
    const struct gateway *gateway = &surroundings.gateways[i];
    /* A narrower route of its own still leads to it. */
    if (netlink_prefix_contains(prefix, &gateway->address) && gateway->covered <= prefix->length)
      return refused(failure, prefix, "gateway", &gateway->address, "");
  }
  return true;
}

static bool look_around(struct permit *permit, struct netlink *netlink, uint32_t ifindex,
                        struct failure *failure) {
  const int result = surroundings_read(&surroundings, netlink, ifindex);
  if (result < 0)
    return failure_set(failure, HELPER_STEP_PERMIT, result, "%s", netlink->reason);
  resolvers_read(&permit->resolvers);
  return true;
}

bool permit_check(struct permit *permit, struct netlink *netlink, uint32_t ifindex,
                  const struct route_set *wanted, struct failure *failure) {
  struct budget budget = {.left = {PERMIT_WIDEST * (UINT64_C(1) << (32 - PERMIT_LENGTH4)),
                                   PERMIT_WIDEST * (UINT64_C(1) << (64 - PERMIT_LENGTH6))}};

  if (permit->unlimited || wanted->count == 0) return true;
  for (size_t i = 0; i < wanted->count; i++)
    if (!range_permitted(permit, &budget, &wanted->prefixes[i], failure)) return false;
  if (permit->rules.local) return true;

  if (!look_around(permit, netlink, ifindex, failure)) return false;
  for (size_t i = 0; i < wanted->count; i++)
    if (!resolvers_have(&permit->resolvers, &wanted->prefixes[i]) &&
        (!is_apart(netlink, &wanted->prefixes[i], failure) ||
         !leaves_gateways(&wanted->prefixes[i], failure)))
      return false;
  return true;
}

bool permit_review(struct permit *permit, struct netlink *netlink, uint32_t ifindex,
                   const struct route_set *captured, struct route_set *kept,
                   struct failure *failure) {
  struct failure other;

  kept->count = 0;
  const bool all = permit->unlimited || permit->rules.local || captured->count == 0;
  if (!all && !look_around(permit, netlink, ifindex, failure)) return false;
  for (size_t i = 0; i < captured->count; i++) {
    const struct netlink_prefix *prefix = &captured->prefixes[i];
    if (!all && !resolvers_have(&permit->resolvers, prefix)) {
      const bool is_first = kept->count == i;
      if (!is_apart(netlink, prefix, is_first ? failure : &other)) continue;
      if (!leaves_gateways(prefix, failure)) return false;
    }
    kept->prefixes[kept->count++] = *prefix;
  }
  return true;
}
