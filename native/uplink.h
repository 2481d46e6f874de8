#ifndef TUNNEL_UPLINK_H
#define TUNNEL_UPLINK_H

#include <net/if.h>
#include <stdint.h>

/*
 * The device by which packets to `address` would leave if the device `exclude_ifindex` (0: none)
 * weren't there: longest match in the main table, then lowest metric. Dead routes are skipped, and
 * only the first hop of a multipath route counts. Needs no privileges. Returns 0 or a negative
 * errno: ENETUNREACH if there is no route, or the route is a blackhole, unreachable or prohibit
 * route.
 */
int uplink_for(int family, const uint8_t *address, uint32_t exclude_ifindex,
               char name[IF_NAMESIZE]);

#endif
