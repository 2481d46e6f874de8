/*
 * netlink.h - a small rtnetlink client (rtnetlink(7)): the changes that the helper makes, and the
 * look-ups of both sides.
 *
 * Every call is one exchange with the kernel on a blocking socket: a request and its
 * acknowledgement, or a dump. Functions return 0 (or as documented) or a negative errno. After a
 * failure `reason` has the kernel's message (extended acknowledgement) or is empty.
 */
#ifndef TUNNEL_NETLINK_H
#define TUNNEL_NETLINK_H

#include <linux/netlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The routing protocol number (rtm_protocol, `proto` in ip-route(8)) of the routes made here. It
 * lets tunnels recognise each other's routes. Not used in iproute2's rt_protos.
 */
#define NETLINK_ROUTE_PROTOCOL 116

/* The kernel never fills more than this at once. */
#define NETLINK_BUFFER 32768u

/* Of a multipath route. More are left out. */
#define NETLINK_MAX_GATEWAYS 32u
#define NETLINK_ALIAS_SIZE 64u

struct netlink_prefix {
  uint8_t family; /* 4 or 6 */
  uint8_t length;
  uint8_t address[16]; /* IPv4 in the first 4 octets, the rest zero */
  bool preferred;      /* of a route to be added: it wins over others to the same prefix */
  uint32_t metric;     /* of a route to be added that isn't preferred; 0: the usual one */
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
  uint8_t gateway_count;
  bool has_more_gateways; /* than NETLINK_MAX_GATEWAYS */
  struct netlink_prefix gateways[NETLINK_MAX_GATEWAYS]; /* host prefixes, one of each hop */
};

struct netlink_link {
  uint32_t ifindex; /* 0: no such device */
  bool up;          /* as the administrator has set it (IFF_UP) */
  bool persistent;  /* a TUN device with TUNSETPERSIST (known since Linux 4.18) */
  char name[IF_NAMESIZE];
  char alias[NETLINK_ALIAS_SIZE]; /* empty as well if it is longer */
};

int netlink_open(struct netlink *netlink);
void netlink_close(struct netlink *netlink);

/*
 * Sets the MTU and the length of the transmit queue in packets (0: unchanged), forbids IPv6
 * link-local addresses (and with them router solicitations), then brings the device up. Needs
 * CAP_NET_ADMIN.
 */
int netlink_link_up(struct netlink *netlink, uint32_t ifindex, uint32_t mtu, uint32_t queue);

/* -ENODEV: there is no such device. */
int netlink_link_get(struct netlink *netlink, uint32_t ifindex, struct netlink_link *link);

int netlink_link_find(struct netlink *netlink, const char *name, struct netlink_link *link);

typedef void (*netlink_link_function)(void *context, const struct netlink_link *link);
int netlink_each_link(struct netlink *netlink, netlink_link_function each, void *context);

/* A text that everybody can read and only CAP_NET_ADMIN can set (`ip link set alias`). */
int netlink_link_set_alias(struct netlink *netlink, uint32_t ifindex, const char *alias);

/* -ENODEV: there is no such device. */
int netlink_link_delete(struct netlink *netlink, uint32_t ifindex);

/*
 * Gives the device the address `prefix->address`, without a route for the prefix
 * (IFA_F_NOPREFIXROUTE).
 */
int netlink_address_add(struct netlink *netlink, uint32_t ifindex,
                        const struct netlink_prefix *prefix);

/* The metric with which a route to the prefix is added. */
uint32_t netlink_route_metric(const struct netlink_prefix *prefix);

/*
 * Adds a route `prefix dev ifindex proto 116 scope global` to the main table. The kernel does this
 * atomically: -EEXIST if any route to the same prefix with the same metric exists. A preferred
 * prefix comes before such routes instead, which stay; of IPv4 with the metric 0.
 */
int netlink_route_add(struct netlink *netlink, uint32_t ifindex,
                      const struct netlink_prefix *prefix);
int netlink_route_delete(struct netlink *netlink, uint32_t ifindex,
                         const struct netlink_prefix *prefix);

/*
 * Calls `each` for every address (as a host prefix and as its network) or route of the family (4 or
 * 6); all tables. With a `protocol` other than RTPROT_UNSPEC the kernel may leave out the routes of
 * others. If a change interrupts the dump, it starts again, so `each` may get the same entry twice.
 * If the kernel doesn't have the family, `each` isn't called.
 */
typedef void (*netlink_address_function)(void *context, uint32_t ifindex,
                                         const struct netlink_prefix *prefix);
typedef void (*netlink_route_function)(void *context, const struct netlink_route *route);
int netlink_each_address(struct netlink *netlink, int family, netlink_address_function each,
                         void *context);
int netlink_each_route(struct netlink *netlink, int family, uint8_t protocol,
                       netlink_route_function each, void *context);

/* A notification from the kernel. */
struct netlink_notice {
  enum {
    NETLINK_LINK_CHANGED, /* any property of a device, or its end */
    NETLINK_ADDRESS_NEW,  /* also if it has changed */
    NETLINK_ADDRESS_GONE,
    NETLINK_ROUTE_NEW, /* also if it replaces another, whose end is not reported */
    NETLINK_ROUTE_GONE,
    NETLINK_RULE_CHANGED, /* `ifindex` is 0 */
  } kind;
  uint32_t ifindex;
  struct netlink_route route; /* for NETLINK_ROUTE_* */
};

/*
 * Opens a separate non-blocking socket for notifications. The kernel doesn't report everything:
 * when a device goes down or loses its last address of a family, its IPv4 routes are removed
 * silently.
 */
int netlink_watch_open(struct netlink *watch);

/*
 * Reads the next notifications and calls `each` for them. Returns 1, 0 if none wait, or a negative
 * errno: -ENOBUFS if notifications were lost, after which reading may go on.
 */
typedef void (*netlink_notice_function)(void *context, const struct netlink_notice *notice);
int netlink_watch_read(struct netlink *watch, netlink_notice_function each, void *context);

bool netlink_prefix_equal(const struct netlink_prefix *a, const struct netlink_prefix *b);
/* The first `length` bits of a prefix that has at least as many. */
struct netlink_prefix netlink_prefix_shortened(const struct netlink_prefix *prefix,
                                               unsigned length);

/* Whether all of `b` is in `a`; whether one of the two contains the other. */
bool netlink_prefix_contains(const struct netlink_prefix *a, const struct netlink_prefix *b);
bool netlink_prefix_overlap(const struct netlink_prefix *a, const struct netlink_prefix *b);

#endif
