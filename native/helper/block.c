#include "block.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

static const struct netlink_prefix range4 = {.family = 4, .length = 15, .address = {198, 18}};
static const struct netlink_prefix range6 = {
    .family = 6, .length = 55, .address = {0x20, 0x01, 0x00, 0x02}};

#define BLOCK4_LENGTH 24u
#define BLOCK6_LENGTH 64u
/* Of the reserved range, of which range6 is the part with the blocks. */
#define RANGE6_LENGTH 48u

struct blocks_used {
  bool used[BLOCK_COUNT];
};

static struct netlink_prefix block_prefix(unsigned block, int family) {
  struct netlink_prefix prefix = family == 4 ? range4 : range6;
  prefix.length = family == 4 ? BLOCK4_LENGTH : BLOCK6_LENGTH;
  /* The number is added before the last octet of 198.18.0.0, or in the fourth group of 2001:2::. */
  uint8_t *number = &prefix.address[family == 4 ? 1 : 6];
  number[0] = (uint8_t)(number[0] + (block >> 8));
  number[1] = (uint8_t)block;
  return prefix;
}

/*
 * A prefix wider than a whole range (a default route or its halves, a captured 192.0.0.0/2) doesn't
 * mean that the range is in use, and our routes are more specific. A prefix within it does.
 */
static void blocks_mark(struct blocks_used *blocks, const struct netlink_prefix *prefix) {
  const struct netlink_prefix *range = prefix->family == 4 ? &range4 : &range6;
  if (prefix->length < range->length || !netlink_prefix_overlap(prefix, range)) return;
  for (unsigned block = 0; block < BLOCK_COUNT; block++) {
    const struct netlink_prefix own = block_prefix(block, prefix->family);
    if (netlink_prefix_overlap(prefix, &own)) blocks->used[block] = true;
  }
}

static void blocks_mark_address(void *context, uint32_t ifindex,
                                const struct netlink_prefix *prefix) {
  (void)ifindex;
  blocks_mark(context, prefix);
}

static void blocks_mark_route(void *context, const struct netlink_route *route) {
  /*
   * Routers discard the reserved ranges with such routes, which doesn't mean that they are in use.
   */
  if (route->type == RTN_BLACKHOLE || route->type == RTN_UNREACHABLE || route->type == RTN_PROHIBIT)
    return;
  blocks_mark(context, &route->destination);
}

/*
 * Claims the routes to a block's prefixes: all or none. The kernel adds such a route only if there
 * isn't one (-EEXIST), so if two helpers choose the same block at the same time, only one gets it.
 * `*at` is the index of the prefix that could not be claimed.
 */
static int block_claim_routes(struct netlink *netlink, uint32_t ifindex,
                              const struct netlink_prefix *prefixes, size_t count, size_t *at) {
  for (*at = 0; *at < count; (*at)++) {
    int result = netlink_route_add(netlink, ifindex, &prefixes[*at]);
    if (result == 0) continue;
    if (result == -EEXIST)
      for (size_t done = *at; done > 0; done--)
        (void)netlink_route_delete(netlink, ifindex, &prefixes[done - 1]);
    return result;
  }
  return 0;
}

bool block_in_range(const struct netlink_prefix *prefix) {
  struct netlink_prefix range = prefix->family == 4 ? range4 : range6;
  if (prefix->family == 6) range.length = RANGE6_LENGTH;
  return netlink_prefix_contains(&range, prefix);
}

bool block_is(const struct netlink_prefix *prefix) {
  return prefix->length == (prefix->family == 4 ? BLOCK4_LENGTH : BLOCK6_LENGTH) &&
         netlink_prefix_overlap(prefix, prefix->family == 4 ? &range4 : &range6);
}

bool block_claim(struct netlink *netlink, uint32_t ifindex, uint32_t families, struct block *block,
                 struct failure *failure) {
  struct blocks_used blocks = {.used = {false}};

  for (int family = 4; family <= 6; family += 2) {
    if ((families & (family == 4 ? HELPER_IPV4 : HELPER_IPV6)) == 0) continue;
    int result = netlink_each_address(netlink, family, blocks_mark_address, &blocks);
    if (result == 0)
      result = netlink_each_route(netlink, family, RTPROT_UNSPEC, blocks_mark_route, &blocks);
    if (result < 0) return failure_set(failure, HELPER_STEP_ADDRESS, result, "%s", netlink->reason);
  }

  for (unsigned number = 0; number < BLOCK_COUNT; number++) {
    size_t at;

    if (blocks.used[number]) continue;
    block->count = 0;
    if ((families & HELPER_IPV4) != 0) block->prefixes[block->count++] = block_prefix(number, 4);
    if ((families & HELPER_IPV6) != 0) block->prefixes[block->count++] = block_prefix(number, 6);
    int result = block_claim_routes(netlink, ifindex, block->prefixes, block->count, &at);
    if (result == -EEXIST) continue;
    if (result < 0)
      return failure_set_prefix(failure, HELPER_STEP_ADDRESS, result, &block->prefixes[at],
                                netlink->reason);

    for (at = 0; at < block->count; at++) {
      struct netlink_prefix *address = &block->addresses[at];
      *address = block->prefixes[at];
      address->address[address->family == 4 ? 3 : 15] = 1;
      result = netlink_address_add(netlink, ifindex, address);
      if (result < 0)
        return failure_set_prefix(failure, HELPER_STEP_ADDRESS, result, address, netlink->reason);
    }
    return true;
  }
  return failure_set(failure, HELPER_STEP_ADDRESS, EADDRNOTAVAIL, "198.18.0.0/15, 2001:2::/55");
}
