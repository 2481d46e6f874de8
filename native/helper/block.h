/*
 * block.h - chooses the device's own addresses, in ranges reserved for benchmarks, which no network
 * uses: the N-th /24 of 198.18.0.0/15 (RFC 2544) and the N-th /64 of 2001:2::/55, part of
 * 2001:2::/48 (RFC 5180). N is the lowest of 0..BLOCK_COUNT-1 whose blocks, in the requested
 * families, are not in use on this machine. So several tunnels can run at the same time. The device
 * itself is .1 and ::1.
 */
#ifndef TUNNEL_HELPER_BLOCK_H
#define TUNNEL_HELPER_BLOCK_H

#include "failure.h"

#define BLOCK_COUNT 512u

/* A device's block: one address and one prefix for each requested family. */
struct block {
  size_t count;
  struct netlink_prefix prefixes[2];
  struct netlink_prefix addresses[2]; /* with the prefix's length */
};

/*
 * Gives the device, which must be up, a block's addresses and the routes to the rest of it. After a
 * failure parts of it may be left on the device, which must then be deleted.
 */
bool block_claim(struct netlink *netlink, uint32_t ifindex, uint32_t families, struct block *block,
                 struct failure *failure);

/* Whether a prefix lies in the reserved ranges, 198.18.0.0/15 and 2001:2::/48. */
bool block_in_range(const struct netlink_prefix *prefix);

/* Whether a prefix is that of any tunnel's block. */
bool block_is(const struct netlink_prefix *prefix);

#endif
