/*
 * watch.h - notices when somebody else removes what the session has set up: its device, the
 * device's addresses, its routes. Otherwise captured traffic would leave by another route
 * unnoticed.
 *
 * A notification only raises a suspicion, and one about another device doesn't even do that. The
 * kernel's tables are then read to see what is really there. So our own changes and lost
 * notifications need no special treatment.
 *
 *   everything is there              nothing happens
 *   only routes are missing          they are put back, for as long as one sweep of another program
 *                                    may take, and then not again for WATCH_RESTORE_INTERVAL_MS: if
 *                                    somebody removes them again, it is on purpose
 *   device down or gone, an address  lost: the kernel's own routes would not come back with it
 *   missing, a route's place taken
 */
#ifndef TUNNEL_HELPER_WATCH_H
#define TUNNEL_HELPER_WATCH_H

#include "block.h"
#include "routes.h"

/* Programs that clear routes remove them one by one. */
#define WATCH_SWEEP_MS 1000
#define WATCH_RESTORE_INTERVAL_MS 10000

/* What must be there. */
struct watched {
  uint32_t ifindex; /* 0: nothing yet */
  const char *name;
  const struct block *block;
  struct route_set *routes; /* a shared one that is put back may get another metric */
};

struct watch {
  struct netlink notices; /* subscribed before the device is made; poll its descriptor */
  bool joined; /* watch_take_joined() */
  bool restored;
  int64_t restored_at_ms;
};

int watch_open(struct watch *watch);

/*
 * Handles the notifications that wait, up to a limit. False, with what was lost in `failure`, if
 * the session can't go on.
 */
bool watch_step(struct watch *watch, struct netlink *netlink, const struct watched *watched,
                struct failure *failure);

/* Whether the machine has got an address or a default route since the last call. */
bool watch_take_joined(struct watch *watch);

#endif
