#include "launcher/network.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "launcher/namespaces.h"
#include "netlink.h"
#include "tun.h"

#define LOOPBACK_INDEX 1u /* the first device of every network namespace */
#define LOOPBACK_MTU 65536u
#define LENGTH4 24
#define LENGTH6 64
#define ID_RANGE_TEXT 32

static struct netlink netlink; /* large */

static bool kernel_fault(struct fault *fault, int error, const char *what) {
  return fault_set(fault, LAUNCHER_STEP_NETWORK, error, "%s %s", what, netlink.reason);
}

/* Gives the device the address, and a default route for its family. */
static int family_add(uint32_t ifindex, uint8_t family, const uint8_t *address) {
  const struct netlink_prefix everywhere = {.family = family};
  struct netlink_prefix own = {.family = family, .length = family == 4 ? LENGTH4 : LENGTH6};

  memcpy(own.address, address, family == 4 ? 4 : 16);
  int result = netlink_address_add(&netlink, ifindex, &own);
  return result < 0 ? result : netlink_route_add(&netlink, ifindex, &everywhere);
}

/* Whether the error means that the kernel has no IPv6, or the administrator has switched it off. */
static bool is_without_ipv6(int result) {
  return result == -EAFNOSUPPORT || result == -EACCES || result == -EOPNOTSUPP || result == -EPERM;
}

/*
 * ping(8) without capabilities needs a kind of socket that is allowed by group (icmp(7),
 * ping_group_range). A new namespace allows no group. With this the user learns that echo requests
 * aren't carried, instead of that ping may not run.
 */
static void permit_ping(gid_t gid) {
  char range[ID_RANGE_TEXT];
  snprintf(range, sizeof range, "%u %u", gid, gid);
  /* If /proc/sys is read-only, ping reports that it may not run. */
  (void)namespaces_write("/proc/sys/net/ipv4/ping_group_range", range);
}

static bool device_make(const struct launcher_setup *setup, struct network *network,
                        struct fault *fault) {
  network->tun = tun_open();
  if (network->tun < 0)
    return fault_set(fault, LAUNCHER_STEP_OPEN_TUN, network->tun, "/dev/net/tun");
  int result = tun_create(network->tun, network->device);
  if (result < 0) return fault_set(fault, LAUNCHER_STEP_CREATE_TUN, result, "/dev/net/tun");
  struct netlink_link link;
  result = netlink_link_find(&netlink, network->device, &link);
  if (result < 0) return kernel_fault(fault, result, network->device);
  const uint32_t ifindex = link.ifindex;

  result = netlink_link_up(&netlink, LOOPBACK_INDEX, LOOPBACK_MTU, 0);
  if (result < 0) return kernel_fault(fault, result, "lo");
  result = netlink_link_up(&netlink, ifindex, setup->mtu, TUN_QUEUE_FRAMES);
  if (result < 0) return kernel_fault(fault, result, network->device);
  result = family_add(ifindex, 4, setup->address4);
  if (result < 0) return kernel_fault(fault, result, "IPv4");
  result = family_add(ifindex, 6, setup->address6);
  network->ipv6 = result == 0;
  return result == 0 || is_without_ipv6(result) || kernel_fault(fault, result, "IPv6");
}

bool network_make(const struct launcher_setup *setup, gid_t gid, struct network *network,
                  struct fault *fault) {
  *network = (struct network){.tun = -1};
  int result = netlink_open(&netlink);
  if (result < 0) return fault_set(fault, LAUNCHER_STEP_NETWORK, result, "rtnetlink");
  bool made = device_make(setup, network, fault);
  netlink_close(&netlink);
  if (made) permit_ping(gid);
  return made;
}
