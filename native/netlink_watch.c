#include <errno.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "netlink.h"
#include "netlink_message.h"

#define RTMGRP_IPV6_RULE (1u << (RTNLGRP_IPV6_RULE - 1))
/* For notifications: takes a few thousand changes at once. */
#define WATCH_BUFFER (1024 * 1024)

int netlink_watch_open(struct netlink *watch) {
  const int size = WATCH_BUFFER;
  struct sockaddr_nl groups = {.nl_family = AF_NETLINK,
                               .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
                                            RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE |
                                            RTMGRP_IPV4_RULE | RTMGRP_IPV6_RULE};

  int result = netlink_open_socket(watch, SOCK_NONBLOCK);
  if (result < 0) return result;
  /*
   * SO_RCVBUFFORCE needs CAP_NET_ADMIN; SO_RCVBUF is limited by net.core.rmem_max. An overrun is
   * noticed anyway.
   */
  if (setsockopt(watch->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
    (void)setsockopt(watch->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  return bind(watch->fd, (struct sockaddr *)&groups, sizeof groups) < 0 ? -errno : 0;
}

/* Reads a notification, if it is of a kind that netlink.h lists. */
static bool notice_parse(const struct nlmsghdr *message, struct netlink_notice *notice) {
  switch (message->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      const struct ifinfomsg *body = NLMSG_DATA(message);
      if (message->nlmsg_len < NLMSG_LENGTH(sizeof *body)) return false;
      *notice = (struct netlink_notice){.kind = NETLINK_LINK_CHANGED,
                                        .ifindex = (uint32_t)body->ifi_index};
      return true;
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      const struct ifaddrmsg *body = NLMSG_DATA(message);
      if (message->nlmsg_len < NLMSG_LENGTH(sizeof *body)) return false;
      *notice = (struct netlink_notice){.kind = message->nlmsg_type == RTM_NEWADDR
                                                    ? NETLINK_ADDRESS_NEW
                                                    : NETLINK_ADDRESS_GONE,
                                        .ifindex = body->ifa_index};
      return true;
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      notice->kind = message->nlmsg_type == RTM_NEWROUTE ? NETLINK_ROUTE_NEW : NETLINK_ROUTE_GONE;
      if (!netlink_route_parse(message, &notice->route)) return false;
      notice->ifindex = notice->route.ifindex;
      return true;
    case RTM_NEWRULE:
    case RTM_DELRULE:
      *notice = (struct netlink_notice){.kind = NETLINK_RULE_CHANGED};
      return true;
    default:
      return false;
  }
}

int netlink_watch_read(struct netlink *watch, netlink_notice_function each, void *context) {
  struct netlink_notice notice;

  ssize_t length = netlink_receive(watch);
  if (length == -EAGAIN) return 0;
  if (length < 0) return (int)length;
  uint32_t left = (uint32_t)length;
  for (struct nlmsghdr *message = (struct nlmsghdr *)watch->buffer; NLMSG_OK(message, left);
       message = netlink_message_next(message, &left))
    if (notice_parse(message, &notice)) each(context, &notice);
  return 1;
}
