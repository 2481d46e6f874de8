/*
 * network.h - the network that the command sees: a loopback device, and a TUN for everything else.
 */
#ifndef TUNNEL_LAUNCHER_NETWORK_H
#define TUNNEL_LAUNCHER_NETWORK_H

#include <net/if.h>
#include <stdbool.h>
#include <sys/types.h>

#include "launcher/fault.h"

struct network {
  char device[IF_NAMESIZE];
  int tun;
  bool ipv6; /* whether the kernel has IPv6 and the device has an IPv6 address */
};

/*
 * Sets up the current network namespace, which must be new: lo, and a TUN with the addresses of
 * `setup` and default routes. Its descriptor is close-on-exec; the caller must close it. `gid` is
 * the command's group, which is allowed to use ping(8).
 */
bool network_make(const struct launcher_setup *setup, gid_t gid, struct network *network,
                  struct fault *fault);

#endif
