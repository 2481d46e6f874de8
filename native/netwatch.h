/*
 * netwatch.h - tells when this machine's network has changed: devices, addresses, routes
 * (rtnetlink(7)). Needs no privileges.
 *
 * A thread of its own reads the kernel's notifications. Changes come in bursts (a cable that is
 * plugged in makes a dozen), so one call stands for all that happened until nothing more came for
 * NETWATCH_QUIET_MS, or for NETWATCH_SETTLE_MS:
 *
 *   idle --a change--> settling --quiet, or long enough--> callback --> idle
 *
 * Changes of one device, and of routes through it, are left out: the program's own. An address that
 * comes is seen by the route for it in the local table. Notifications that the kernel had no room
 * for count as a change.
 */
#ifndef TUNNEL_NETWATCH_H
#define TUNNEL_NETWATCH_H

#include <stdint.h>

#define NETWATCH_QUIET_MS 250
#define NETWATCH_SETTLE_MS 1000

struct netwatch;

/**
 * Called on the watch's thread: 0 after changes; an errno once and last, when no more can be read.
 */
typedef void (*netwatch_callback)(void *context, int error);

/* `ignored_ifindex` 0: none. NULL and `*error` (an errno) when it can't be started. */
struct netwatch *netwatch_start(uint32_t ignored_ifindex, netwatch_callback callback, void *context,
                                int *error);

/* Waits for the thread (the callback isn't called any more) and frees the watch. */
void netwatch_stop(struct netwatch *watch);

#endif
