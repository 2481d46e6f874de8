/* special.h - ranges that nobody needs to capture for their addresses' sake. */
#ifndef TUNNEL_HELPER_SPECIAL_H
#define TUNNEL_HELPER_SPECIAL_H

#include "netlink.h"

struct special_range {
  struct netlink_prefix prefix;
  const char *name; /* completes "it is a special range (...)" */
  /* The program never captures it, also where it captures everything around it. */
  bool never;
};

/*
 * The first range that shares addresses with the prefix, of all or of those that are never
 * captured; NULL if there is none.
 */
const struct special_range *special_find(const struct netlink_prefix *prefix, bool never);

/* Whether it is for private use, and so leads to nobody on the Internet. */
bool special_is_private(const struct netlink_prefix *prefix);

#endif
