#include "uplink.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <string.h>

#include "netlink.h"

struct uplink {
  struct netlink_prefix destination;
  uint32_t exclude_ifindex;
  bool found;
  struct netlink_route best;
};

static void uplink_consider(void *context, const struct netlink_route *route) {
  struct uplink *uplink = context;

  if (route->table != RT_TABLE_MAIN || route->tos != 0 || (route->flags & RTNH_F_DEAD) != 0) return;
  if (route->ifindex != 0 && route->ifindex == uplink->exclude_ifindex) return;
  /* What --fail-closed leaves behind the tunnel's own routes. */
  if (route->protocol == NETLINK_ROUTE_PROTOCOL && route->type == RTN_UNREACHABLE) return;
  if (!netlink_prefix_overlap(&route->destination, &uplink->destination)) return;
  if (uplink->found) {
    if (route->destination.length < uplink->best.destination.length) return;
    if (route->destination.length == uplink->best.destination.length &&
        route->metric >= uplink->best.metric)
      return;
  }
  uplink->found = true;
  uplink->best = *route;
}

int uplink_for(int family, const uint8_t *address, uint32_t exclude_ifindex,
               char name[IF_NAMESIZE]) {
  struct netlink netlink;
  struct uplink uplink = {.exclude_ifindex = exclude_ifindex};

  uplink.destination.family = (uint8_t)family;
  uplink.destination.length = family == 4 ? 32 : 128;
  memcpy(uplink.destination.address, address, family == 4 ? 4 : 16);
  int result = netlink_open(&netlink);
  if (result < 0) return result;
  result = netlink_each_route(&netlink, family, RTPROT_UNSPEC, uplink_consider, &uplink);
  netlink_close(&netlink);
  if (result < 0) return result;
  if (!uplink.found || uplink.best.type != RTN_UNICAST || uplink.best.ifindex == 0)
    return -ENETUNREACH;
  return if_indextoname(uplink.best.ifindex, name) != NULL ? 0 : -errno;
}
