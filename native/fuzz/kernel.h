/*
 * kernel.h - stands in for the kernel behind the rtnetlink client: one TUN device, its addresses,
 * the routes of the main table. It answers requests as rtnetlink does, refuses what rtnetlink
 * refuses, and fails when it is told to.
 */
#ifndef TUNNEL_FUZZ_KERNEL_H
#define TUNNEL_FUZZ_KERNEL_H

#include <sys/socket.h>

#include "netlink.h"

#define KERNEL_MAX_ROUTES 1024u
#define KERNEL_MAX_ADDRESSES 8u
#define KERNEL_DEVICE 9u  /* the tunnel's */
#define KERNEL_OTHER 2u   /* a device of somebody else */
#define KERNEL_NOTICES 77 /* the descriptor of the socket with notifications */

struct kernel_address {
  uint32_t ifindex;
  struct netlink_prefix prefix;
};

struct kernel {
  bool device, up;
  char alias[NETLINK_ALIAS_SIZE];
  size_t address_count, route_count;
  struct kernel_address addresses[KERNEL_MAX_ADDRESSES];
  struct netlink_route routes[KERNEL_MAX_ROUTES];
  unsigned fails_in; /* the n-th change from now on fails, if it isn't 0 */
  int fails_with;
  bool disturbed; /* something has failed, or somebody else has changed what is the tunnel's */
};

extern struct kernel machine;

void kernel_reset(void);

/* A device of the tunnel goes away, with its addresses and routes. */
void kernel_remove_device(void);
/* Adds somebody's route, if it fits and nothing forbids it. */
void kernel_add_route(const struct netlink_route *route);
/* Puts a notification into the socket for these; only the last one is kept. */
void kernel_notify(const uint8_t *datagram, size_t length);
bool kernel_has_notice(void);

/* In place of the system calls. */
ssize_t kernel_recvmsg(int fd, struct msghdr *header, int flags);
ssize_t kernel_sendto(int fd, const void *message, size_t length, int flags,
                      const struct sockaddr *to, socklen_t size);

#endif
