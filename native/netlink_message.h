/* netlink_message.h - builds requests; for the parts that make changes of their own. */
#ifndef TUNNEL_NETLINK_MESSAGE_H
#define TUNNEL_NETLINK_MESSAGE_H

#include <linux/rtnetlink.h>
#include <stddef.h>

#include "netlink.h"

#define NETLINK_REQUEST_CAPACITY 512u

/* A request under construction: netlink header, the type's own header, attributes. */
struct netlink_request {
  _Alignas(struct nlmsghdr) uint8_t data[NETLINK_REQUEST_CAPACITY];
};

/* AF_INET or AF_INET6, and the size of its addresses. */
int netlink_family(const struct netlink_prefix *prefix);
size_t netlink_address_size(int family);

struct nlmsghdr *netlink_request_begin(struct netlink_request *request, uint16_t type,
                                       uint16_t flags, const void *body, size_t size);

/* Appends an attribute. `value` may be NULL if it contains the attributes that come next. */
struct rtattr *netlink_attribute(struct nlmsghdr *header, uint16_t type, const void *value,
                                 size_t size);

int netlink_change(struct netlink *netlink, struct nlmsghdr *request);

#endif
