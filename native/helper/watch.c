#include "watch.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <time.h>

/*
 * How many datagrams are read at once. Requests must not wait too long if the machine's routes
 * change all the time.
 */
#define WATCH_BATCH 64

int watch_open(struct watch *watch) {
  watch->restored = watch->joined = false;
  return netlink_watch_open(&watch->notices);
}

static bool block_has(const struct block *block, const struct netlink_prefix *prefix) {
  for (size_t i = 0; i < block->count; i++)
    if (netlink_prefix_equal(&block->prefixes[i], prefix)) return true;
  return false;
}

struct suspicion {
  const struct watched *watched;
  struct watch *watch;
  bool raised;
};

static void suspect(void *context, const struct netlink_notice *notice) {
  struct suspicion *suspicion = context;
  const struct watched *watched = suspicion->watched;

  if (notice->ifindex != watched->ifindex &&
      (notice->kind == NETLINK_ADDRESS_NEW ||
       (notice->kind == NETLINK_ROUTE_NEW && notice->route.destination.length == 0)))
    suspicion->watch->joined = true;
  if (watched->ifindex == 0 || notice->kind == NETLINK_RULE_CHANGED ||
      notice->kind == NETLINK_ADDRESS_NEW)
    return;
  if (notice->kind == NETLINK_LINK_CHANGED || notice->kind == NETLINK_ADDRESS_GONE) {
    suspicion->raised = suspicion->raised || notice->ifindex == watched->ifindex;
    return;
  }
  /*
   * The end of one of our routes, or somebody else's new route to the same prefix, which may have
   * replaced it.
   */
  const bool ours = notice->ifindex == watched->ifindex;
  if (notice->route.table != RT_TABLE_MAIN || ours != (notice->kind == NETLINK_ROUTE_GONE)) return;
  const struct netlink_prefix *destination = &notice->route.destination;
  size_t at;
  if (block_has(watched->block, destination) || routes_find(watched->routes, destination, &at))
    suspicion->raised = true;
}

/* Which of the routes and addresses that must be there were found. */
struct inventory {
  const struct watched *watched;
  bool routes[HELPER_MAX_PREFIXES], block_routes[2], addresses[2];
};

/* Static, because it is too large for the stack. */
static struct inventory inventory;

static void route_found(void *context, const struct netlink_route *route) {
  struct inventory *found = context;
  const struct watched *watched = found->watched;

  if (route->table != RT_TABLE_MAIN || route->tos != 0) return;
  if (route->ifindex != watched->ifindex || route->protocol != NETLINK_ROUTE_PROTOCOL) return;
  for (size_t i = 0; i < watched->block->count; i++)
    if (netlink_prefix_equal(&watched->block->prefixes[i], &route->destination))
      found->block_routes[i] = true;
  size_t at;
  if (routes_find(watched->routes, &route->destination, &at)) found->routes[at] = true;
}

static void address_found(void *context, uint32_t ifindex, const struct netlink_prefix *address) {
  struct inventory *found = context;
  const struct block *block = found->watched->block;

  if (ifindex != found->watched->ifindex) return;
  for (size_t i = 0; i < block->count; i++) {
    const struct netlink_prefix *own = &block->addresses[i];
    if (own->family == address->family &&
        memcmp(own->address, address->address, sizeof own->address) == 0)
      found->addresses[i] = true;
  }
}

static bool lost(struct failure *failure, int error, const char *what, const char *happened) {
  return failure_set(failure, HELPER_STEP_LOST, error, "%s %s", what, happened);
}

static bool lost_prefix(struct failure *failure, int error, const char *what,
                        const struct netlink_prefix *prefix) {
  char text[PREFIX_TEXT];
  return failure_set(failure, HELPER_STEP_LOST, error, "%s %s was removed", what,
                     prefix_format(prefix, text));
}

/*
 * Reads what is there. False if something is missing that can't be repaired; missing routes are
 * left to restore().
 */
static bool take_inventory(struct netlink *netlink, const struct watched *watched,
                           struct failure *failure) {
  struct netlink_link link;

  int result = netlink_link_get(netlink, watched->ifindex, &link);
  if (result == -ENODEV) return lost(failure, result, watched->name, "was deleted");
  if (result < 0)
    return failure_set(failure, HELPER_STEP_LOST, result, "%s %s", watched->name, netlink->reason);
  if (!link.up) return lost(failure, ENETDOWN, link.name, "was set down");

  memset(&inventory, 0, sizeof inventory);
  inventory.watched = watched;
  for (size_t i = 0; i < watched->block->count; i++) {
    const int family = watched->block->prefixes[i].family;
    result = netlink_each_address(netlink, family, address_found, &inventory);
    if (result < 0)
      return failure_set(failure, HELPER_STEP_LOST, result, "addresses %s", netlink->reason);
    if (!inventory.addresses[i])
      return lost_prefix(failure, EADDRNOTAVAIL, "address", &watched->block->addresses[i]);
  }
  for (int family = 4; family <= 6; family += 2) {
    result = netlink_each_route(netlink, family, NETLINK_ROUTE_PROTOCOL, route_found, &inventory);
    if (result < 0)
      return failure_set(failure, HELPER_STEP_LOST, result, "routes %s", netlink->reason);
  }
  return true;
}

/* Whether routes may be put back now. The first one of a sweep starts its time. */
static bool may_restore(struct watch *watch) {
  struct timespec now;

  if (clock_gettime(CLOCK_BOOTTIME, &now) < 0) return false;
  const int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
  if (watch->restored && ms - watch->restored_at_ms < WATCH_SWEEP_MS) return true;
  if (watch->restored && ms - watch->restored_at_ms < WATCH_RESTORE_INTERVAL_MS) return false;
  watch->restored = true;
  watch->restored_at_ms = ms;
  return true;
}

/* Puts back one route, if that is allowed. */
static bool restore(struct watch *watch, struct netlink *netlink, const struct watched *watched,
                    struct netlink_prefix *prefix, struct failure *failure) {
  if (!may_restore(watch) || routes_add(netlink, watched->ifindex, prefix) < 0)
    return lost_prefix(failure, ESRCH, "route", prefix);
  return true;
}

static bool verify(struct watch *watch, struct netlink *netlink, const struct watched *watched,
                   struct failure *failure) {
  if (!take_inventory(netlink, watched, failure)) return false;
  for (size_t i = 0; i < watched->block->count; i++) {
    struct netlink_prefix own = watched->block->prefixes[i];
    if (!inventory.block_routes[i] && !restore(watch, netlink, watched, &own, failure))
      return false;
  }
  for (size_t i = 0; i < watched->routes->count; i++)
    if (!inventory.routes[i] &&
        !restore(watch, netlink, watched, &watched->routes->prefixes[i], failure))
      return false;
  return true;
}

bool watch_step(struct watch *watch, struct netlink *netlink, const struct watched *watched,
                struct failure *failure) {
  struct suspicion suspicion = {.watched = watched, .watch = watch};

  for (int taken = 0; taken < WATCH_BATCH; taken++) {
    int result = netlink_watch_read(&watch->notices, suspect, &suspicion);
    if (result == 0) break;
    if (result == -ENOBUFS || result == -EMSGSIZE) /* some were lost */
      suspicion.raised = watch->joined = true;
    else if (result < 0)
      return failure_set(failure, HELPER_STEP_LOST, result, "notifications");
  }
  return watched->ifindex == 0 || !suspicion.raised || verify(watch, netlink, watched, failure);
}

bool watch_take_joined(struct watch *watch) {
  const bool joined = watch->joined;
  watch->joined = false;
  return joined;
}
