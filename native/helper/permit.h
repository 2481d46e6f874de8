/*
 * permit.h - whether the caller may capture a set of prefixes. A capture is for everybody on this
 * machine, so the caller's wish isn't enough.
 *
 *   the caller is root itself (not by sudo or doas)    everything
 *   /etc/tunnel/helper.conf has lines for the caller   what they permit (rules.h)
 *   there is no such file                              the default
 *
 * The default is what a jump host leads to: networks of a site, and some of the Internet.
 *
 *   each prefix at least PERMIT_LENGTH4 or PERMIT_LENGTH6 long, and of what isn't for private use
 *   PERMIT_WIDEST of the widest of these in all    half of the Internet is the administrator's
 *                                                  decision, so his own captures may be wider
 *   no special range (special.h)                   loopback, link-local, metadata, multicast, ...;
 *                                                  for an administrator only those that 0/0 never
 *                                                  captures either
 *   nothing inside a connected network, no default gateway, except for a resolver of
 *   /etc/resolv.conf as a single address; a wider prefix is no harm, since the network's own route
 *   is narrower
 *
 * The last one may change while the tunnel runs, when the machine joins a network. So it is
 * verified again then:
 *
 *   inside a network that is new      its route is removed at once. The program finds the network
 *                                     as well, and asks for the rest within PERMIT_GRACE_MS; if it
 *                                     doesn't, it means to capture that part, and the session ends
 *   a gateway that is new             the session ends
 *
 * The ranges for the addresses of all tunnels (block.h) are always permitted: names get virtual
 * addresses in them.
 */
#ifndef TUNNEL_HELPER_PERMIT_H
#define TUNNEL_HELPER_PERMIT_H

#include "client.h"
#include "failure.h"
#include "resolvers.h"
#include "routes.h"
#include "rules.h"

#define PERMIT_LENGTH4 8u
#define PERMIT_LENGTH6 16u
#define PERMIT_WIDEST 4u
/* The program looks a second after a change at the latest (netwatch.h). */
#define PERMIT_GRACE_MS 5000

struct permit {
  bool unlimited;
  bool administrator;
  struct rules rules;
  struct resolvers resolvers;
};

/*
 * Reads the rules for the caller, as root. False, with the failure, if the file can't be trusted.
 */
bool permit_read(struct permit *permit, const struct client *client, struct failure *failure);

/* Whether the whole set is permitted; if not, the failure names the first prefix that isn't. */
bool permit_check(struct permit *permit, struct netlink *netlink, uint32_t ifindex,
                  const struct route_set *wanted, struct failure *failure);

/*
 * What of `captured` may be captured now that the machine has joined a network. If `kept` is less,
 * the failure names the first prefix that isn't. False, with the failure, if nothing may.
 */
bool permit_review(struct permit *permit, struct netlink *netlink, uint32_t ifindex,
                   const struct route_set *captured, struct route_set *kept,
                   struct failure *failure);

#endif
