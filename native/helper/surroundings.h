/*
 * surroundings.h - what other devices of this machine need: the networks that they are connected
 * to, and the gateways of default routes.
 */
#ifndef TUNNEL_HELPER_SURROUNDINGS_H
#define TUNNEL_HELPER_SURROUNDINGS_H

#include "netlink.h"

#define SURROUNDINGS_MAX_NETWORKS 1024u
#define SURROUNDINGS_MAX_GATEWAYS 64u

/*
 * The prefix of a device's own address. Host prefixes are left out: they are the machine's own
 * addresses, which its local table has, or peers, which matter as gateways only.
 */
struct connected {
  struct netlink_prefix prefix;
  uint32_t ifindex;
};

struct gateway {
  struct netlink_prefix address; /* a host prefix */
  /* The length of the narrowest route to it that isn't a default route; -1: there is none. */
  int covered;
};

struct surroundings {
  uint32_t own; /* the tunnel's own device, which doesn't count */
  bool overflow;
  size_t network_count, gateway_count;
  struct connected networks[SURROUNDINGS_MAX_NETWORKS];
  struct gateway gateways[SURROUNDINGS_MAX_GATEWAYS];
};

/* Returns 0 or a negative errno; -EOVERFLOW if there are more than fit. */
int surroundings_read(struct surroundings *surroundings, struct netlink *netlink, uint32_t own);

#endif
