/* session.h - the helper's conversation with the program (protocol.h), from HELLO to the end. */
#ifndef TUNNEL_HELPER_SESSION_H
#define TUNNEL_HELPER_SESSION_H

#include "watch.h"

struct session {
  int socket;  /* to the program */
  int signals; /* signalfd: readable when the helper is to end */
  int tun; /* /dev/net/tun, or a negative errno: why it can't be opened; closed by session_run() */
  struct netlink netlink;
  struct watch watch;
};

/* Serves the program until it is gone, a request is malformed, the device or a route is lost, or a
 * signal comes; then deletes the device. */
void session_run(struct session *session);

/* Instead of a session: tells the program why there will be none. */
void session_refuse(int socket, const struct failure *failure);

#endif
