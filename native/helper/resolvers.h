/*
 * resolvers.h - the resolvers that /etc/resolv.conf names. A user's names come to his tunnel only
 * if their addresses are captured, also where a resolver is the gateway or in a connected network.
 *
 * The helper itself can open no file. A child, which has no capability and can only read and
 * answer, reads the file each time; it ends with the helper. Without an answer there are none.
 */
#ifndef TUNNEL_HELPER_RESOLVERS_H
#define TUNNEL_HELPER_RESOLVERS_H

#include "netlink.h"

/* At a time, and of all networks that the machine visits in one session: then the oldest go. */
#define RESOLVERS_MAX 32u
/* For the child's answer; without one the resolvers stay those that are known. */
#define RESOLVERS_ANSWER_MS 2000
#define RESOLVERS_MAX_BYTES 16384u /* of the file */

struct resolvers {
  int child; /* the socket to it; -1: there is none */
  size_t count, next;
  struct netlink_prefix seen[RESOLVERS_MAX]; /* host prefixes */
};

/* Starts the child. Returns 0 or a negative errno. */
int resolvers_start(struct resolvers *resolvers);

/* Asks the child what the file says now. */
void resolvers_read(struct resolvers *resolvers);

/* Whether the file names this address, or has named it in this session. */
bool resolvers_have(const struct resolvers *resolvers, const struct netlink_prefix *prefix);

#endif
