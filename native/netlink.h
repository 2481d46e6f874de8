/*
 * netlink.h - a small rtnetlink client (rtnetlink(7)): what the helper changes and what both sides
 * look up.
 *
 * Every call is one conversation with the kernel on a blocking socket: a request and its
 * acknowledgement, or a dump. Functions return 0 (or what they say) or a negative errno; after a
 * failure `reason` holds the kernel's own words (extended acknowledgement) or is empty.
 */
#ifndef TUNNEL_NETLINK_H
#define TUNNEL_NETLINK_H

#include <linux/netlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The routing protocol number (rtm_protocol, `proto` in ip-route(8)) of the routes made here, by
 * which one tunnel knows another's routes. Not in use in iproute2's rt_protos.
 */
#define NETLINK_ROUTE_PROTOCOL 116

/* The kernel fills no more than this in one go. */
#define NETLINK_BUFFER 32768u

struct netlink_prefix {
  uint8_t family; /* 4 or 6 */
  uint8_t length;
  uint8_t address[16]; /* IPv4 in the first 4 octets, the rest zero */
};

struct netlink {
  int fd;
  uint32_t sequence;
  char reason[96];
  _Alignas(struct nlmsghdr) uint8_t buffer[NETLINK_BUFFER];
};

struct netlink_route {
  struct netlink_prefix destination;
  uint32_t table;
  uint32_t metric;
  uint32_t ifindex; /* of the first hop; 0: none, as with a blackhole */
  uint8_t protocol; /* RTPROT_* or NETLINK_ROUTE_PROTOCOL */
  uint8_t type;     /* RTN_* */
  uint8_t tos;
  uint8_t flags; /* RTNH_F_* */
};

struct netlink_link {
  bool up; /* as the administrator wants it (IFF_UP) */
  char name[IF_NAMESIZE];
};

int netlink_open(struct netlink *netlink);
void netlink_close(struct netlink *netlink);

/*
 * Sets the MTU and how many packets may wait to be sent (0: leaves that as it is), forbids IPv6
 * link-local addresses (and with them router solicitations), then brings the device up. Needs
 * CAP_NET_ADMIN.
 */
int netlink_link_up(struct netlink *netlink, uint32_t ifindex, uint32_t mtu, uint32_t queue);

/* -ENODEV if there is none. */
int netlink_link_get(struct netlink *netlink, uint32_t ifindex, struct netlink_link *link);

/* Deletes the device if it still has this name; -ENODEV if there is none. */
int netlink_link_delete(struct netlink *netlink, uint32_t ifindex, const char *name);

/**
 * Gives the device the address `prefix->address`. No route for the prefix is made by that
 * (IFA_F_NOPREFIXROUTE).
 */
int netlink_address_add(struct netlink *netlink, uint32_t ifindex,
                        const struct netlink_prefix *prefix);

/*
 * A route `prefix dev ifindex proto 116 scope link` in the main table. The kernel does this
 * atomically: -EEXIST when a route to the same prefix with the same metric is there, whoever made
 * it.
 */
int netlink_route_add(struct netlink *netlink, uint32_t ifindex,
                      const struct netlink_prefix *prefix);
int netlink_route_delete(struct netlink *netlink, uint32_t ifindex,
                         const struct netlink_prefix *prefix);

/*
 * Calls `each` for every address (as a host prefix and as its network) or route of the family (4 or
 * 6); all tables. With a `protocol` other than RTPROT_UNSPEC the kernel may leave out the routes of
 * others. A dump that a change interrupted is begun anew, so `each` may be called again for what it
 * has seen. A family that the kernel doesn't have has none.
 */
typedef void (*netlink_address_function)(void *context, uint32_t ifindex,
                                         const struct netlink_prefix *prefix);
typedef void (*netlink_route_function)(void *context, const struct netlink_route *route);
int netlink_each_address(struct netlink *netlink, int family, netlink_address_function each,
                         void *context);
int netlink_each_route(struct netlink *netlink, int family, uint8_t protocol,
                       netlink_route_function each, void *context);

/* What the kernel tells everybody who has subscribed. */
struct netlink_notice {
  enum {
    NETLINK_LINK_CHANGED, /* any property of a device, or its end */
    NETLINK_ADDRESS_GONE,
    NETLINK_ROUTE_NEW, /* also one that replaces another, of which no end is told */
    NETLINK_ROUTE_GONE,
  } kind;
  uint32_t ifindex;
  struct netlink_route route; /* of the last two kinds */
};

/*
 * A second socket for notifications, non-blocking. Not everything that a change brings with it is
 * told: when a device goes down or loses its last address of a family, its IPv4 routes go in
 * silence.
 */
int netlink_watch_open(struct netlink *watch);

/*
 * Reads what comes next and calls `each` for it. 1, 0 when nothing waits, or a negative errno:
 * -ENOBUFS when notifications were lost, after which reading goes on.
 */
typedef void (*netlink_notice_function)(void *context, const struct netlink_notice *notice);
int netlink_watch_read(struct netlink *watch, netlink_notice_function each, void *context);

bool netlink_prefix_equal(const struct netlink_prefix *a, const struct netlink_prefix *b);
/* One of the two contains the other. */
bool netlink_prefix_overlap(const struct netlink_prefix *a, const struct netlink_prefix *b);

#endif
