/**
 * network.h - the network that the command sees: a loopback device, and a TUN that everything else
 * goes to.
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
  bool ipv6; /* the kernel has it, and the device an address */
};

/*
 * Makes it in the present network namespace, which must be new: lo up, a TUN with the addresses of
 * `setup` and the default routes. Its descriptor is close-on-exec and the caller's. `gid` is the
 * command's group, which may use ping(8).
 */
bool network_make(const struct launcher_setup *setup, gid_t gid, struct network *network,
                  struct fault *fault);

#endif
