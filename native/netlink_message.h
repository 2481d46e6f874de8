/* netlink_message.h - builds requests and reads answers; for netlink_*.c and addon_rtnetlink.c. */
#ifndef TUNNEL_NETLINK_MESSAGE_H
#define TUNNEL_NETLINK_MESSAGE_H

#include <linux/rtnetlink.h>
#include <stddef.h>
#include <sys/types.h>

#include "netlink.h"

#define NETLINK_REQUEST_CAPACITY 512u

/* A request under construction: netlink header, the type's own header, attributes. */
struct netlink_request {
  _Alignas(struct nlmsghdr) uint8_t data[NETLINK_REQUEST_CAPACITY];
};

typedef void (*netlink_message_function)(void *context, const struct nlmsghdr *message);

/* AF_INET or AF_INET6, and the size of its addresses. */
int netlink_family(const struct netlink_prefix *prefix);
size_t netlink_address_size(int family);

int netlink_open_socket(struct netlink *netlink, int flags);

struct nlmsghdr *netlink_request_begin(struct netlink_request *request, uint16_t type,
                                       uint16_t flags, const void *body, size_t size);

/*
 * Begins a request about the route of the main table to a prefix: `kind` is RTN_UNICAST or
 * RTN_UNREACHABLE.
 *
 * The scope is not that of a link: the kernel looks for a gateway's device among routes of a link's
 * scope. By "default via GATEWAY" without a device, everything would go to the tunnel where the
 * gateway is captured, as a resolver is. IPv6 has no scopes.
 */
struct nlmsghdr *netlink_route_begin(struct netlink_request *request, uint16_t type,
                                     uint16_t flags, uint8_t kind,
                                     const struct netlink_prefix *prefix);

/*
 * Appends an attribute. `value` may be NULL if it contains the attributes that are appended next
 * (see netlink_attribute_end).
 */
struct rtattr *netlink_attribute(struct nlmsghdr *header, uint16_t type, const void *value,
                                 size_t size);
void netlink_attribute_end(struct nlmsghdr *header, struct rtattr *item);

/*
 * The next message of a datagram of which `*left` bytes are left, as NLMSG_NEXT. But the last one
 * may lack its padding; NLMSG_NEXT then makes of `*left` a huge number, and what follows the
 * datagram would be read.
 */
static inline struct nlmsghdr *netlink_message_next(const struct nlmsghdr *message,
                                                    uint32_t *left) {
  const uint32_t step = NLMSG_ALIGN(message->nlmsg_len);

  *left -= step < *left ? step : *left;
  return (struct nlmsghdr *)((uint8_t *)message + step);
}

/* Puts attributes into `table` by type; it has `types` entries. */
void netlink_attributes_parse(const struct rtattr **table, size_t types,
                              const struct rtattr *item, size_t size);
uint32_t netlink_attribute_u32(const struct rtattr *item, uint32_t absent);
/* Copies a text that fits into `size` with its NUL; false if there is none, or it doesn't fit. */
bool netlink_attribute_text(const struct rtattr *item, char *text, size_t size);

/* Reads one datagram from the kernel into the buffer. Returns its length or a negative errno. */
ssize_t netlink_receive(struct netlink *netlink);

/*
 * Sends a request and passes every answer to `each` until the acknowledgement or the dump's end.
 * -EINTR: changes interrupted the dump.
 */
int netlink_converse(struct netlink *netlink, struct nlmsghdr *request,
                     netlink_message_function each, void *context);
int netlink_change(struct netlink *netlink, struct nlmsghdr *request);
int netlink_dump(struct netlink *netlink, struct nlmsghdr *request, netlink_message_function each,
                 void *context);

/* Fills `prefix` from an address attribute; without one the address is all zeros. */
bool netlink_prefix_read(struct netlink_prefix *prefix, int family, uint8_t length,
                         const struct rtattr *address);

/* Reads RTM_NEWROUTE or RTM_DELROUTE. False if it isn't a route in a table, or is malformed. */
bool netlink_route_parse(const struct nlmsghdr *message, struct netlink_route *route);

#endif
