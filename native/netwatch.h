/*
 * netwatch.h - reports changes of this machine's network: devices, addresses, routes, rules
 * (rtnetlink(7)). Needs no privileges.
 *
 * A separate thread reads the kernel's notifications. Changes come in bursts (plugging in a cable
 * makes a dozen). So one callback reports all changes until none came for NETWATCH_QUIET_MS, or for
 * NETWATCH_SETTLE_MS at most:
 *
 *   idle --a change--> settling --quiet, or long enough--> callback --> idle
 *
 * Changes of one device, the program's own, and of routes through it are left out. A new address is
 * noticed by its route in the local table. Lost notifications count as a change.
 */
#ifndef TUNNEL_NETWATCH_H
#define TUNNEL_NETWATCH_H

#include <stdint.h>

#define NETWATCH_QUIET_MS 250
#define NETWATCH_SETTLE_MS 1000

struct netwatch;

/*
 * Called on the watch's thread: with 0 after changes; with an errno once, as the last call, when no
 * more can be read.
 */
typedef void (*netwatch_callback)(void *context, int error);

/* `ignored_ifindex` 0: none. Returns NULL and sets `*error` (an errno) if it can't be started. */
struct netwatch *netwatch_start(uint32_t ignored_ifindex, netwatch_callback callback, void *context,
                                int *error);

/* Waits for the thread to end (no callback comes after that) and frees the watch. */
void netwatch_stop(struct netwatch *watch);

#endif
