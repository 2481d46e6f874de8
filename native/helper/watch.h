/*
 * watch.h - notices when somebody else takes away what the session has set up: its device, the
 * device's addresses, its routes. What was captured would then go out by another way, and nobody
 * would hear of it.
 *
 * Notifications only raise a suspicion, and those about others' devices not even that; what is the
 * case, a look at the kernel's tables says. So changes of our own, and notifications that were
 * lost, need no treatment of their own.
 *
 *   all there                        nothing happens
 *   routes are missing, else well    they are put back, for as long as one sweep of another
 * program's may take, and then not again for WATCH_RESTORE_INTERVAL_MS: somebody who comes back for
 * them means it device down or gone, an address  lost: routes of the kernel's making would not come
 * back with it missing, a route's place taken
 */
#ifndef TUNNEL_HELPER_WATCH_H
#define TUNNEL_HELPER_WATCH_H

#include "block.h"
#include "routes.h"

/* Programs that clear routes away take them one by one. */
#define WATCH_SWEEP_MS 1000
#define WATCH_RESTORE_INTERVAL_MS 10000

/* What is to be there. */
struct watched {
  uint32_t ifindex; /* 0: nothing yet */
  const char *name;
  const struct block *block;
  const struct route_set *routes;
};

struct watch {
  struct netlink
      notices; /* subscribed before there is a device; its descriptor is the one to poll */
  bool restored;
  int64_t restored_at_ms;
};

int watch_open(struct watch *watch);

/**
 * Takes the notifications that wait, up to a limit. False, and what was lost, when the session
 * can't go on.
 */
bool watch_step(struct watch *watch, struct netlink *netlink, const struct watched *watched,
                struct failure *failure);

#endif
