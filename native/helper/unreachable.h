/*
 * unreachable.h - what stays unreachable when the device is gone (--fail-closed).
 *
 *   10.0.0.0/8 dev tun0 proto 116                              as long as the device is there
 *   unreachable 10.0.0.0/8 proto 116 metric UNREACHABLE_METRIC until somebody removes it
 *
 * The kernel prefers the first. Whatever is killed, the second stays, so nothing that was captured
 * leaves by another way. The program has them removed when it is stopped in order.
 *
 * The kernel's table is the journal: such a route is left over if no device of a tunnel has a route
 * that contains it. Each request removes what is left over, so the next tunnel replaces it without
 * a gap, and an empty set removes all of it.
 *
 * A route that is preferred to somebody else's is followed by one that is as well: else the latter
 * would be next.
 */
#ifndef TUNNEL_HELPER_UNREACHABLE_H
#define TUNNEL_HELPER_UNREACHABLE_H

#include "failure.h"
#include "routes.h"

/* "tunl": worse than any metric that is set by others. */
#define UNREACHABLE_METRIC 0x74756e6cu
/* Next to that of a preferred route of IPv6. */
#define UNREACHABLE_METRIC_PREFERRED6 2u
/* Over the table, for what is left, HELPER_MAX_PREFIXES at a time. */
#define UNREACHABLE_PASSES 64

/*
 * Makes exactly the prefixes of `wanted` unreachable behind the routes of the device `ifindex` (0:
 * there is none, and `wanted` is empty), and removes what tunnels that are gone have left. False if
 * something of `wanted` isn't in `captured`, or the kernel refuses.
 */
bool unreachable_apply(struct netlink *netlink, uint32_t ifindex, const struct route_set *captured,
                       const struct route_set *wanted, struct failure *failure);

#endif
