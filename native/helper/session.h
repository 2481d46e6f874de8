/* session.h - the helper's exchange with the program (protocol.h), from HELLO to the end. */
#ifndef TUNNEL_HELPER_SESSION_H
#define TUNNEL_HELPER_SESSION_H

#include "mark.h"
#include "permit.h"
#include "watch.h"

struct session {
  int socket;  /* to the program */
  int signals; /* signalfd: readable when the helper must end */
  int tun; /* /dev/net/tun, or a negative errno if it can't be opened; session_run() closes it */
  struct netlink netlink;
  struct watch watch;
  struct mark mark;
  struct permit permit;
  char removed[sizeof((struct helper_hello *)0)->removed]; /* for HELLO */
};

/*
 * Serves the program until it ends, a request is malformed, the device or a route is lost, or a
 * signal arrives. Then deletes the device.
 */
void session_run(struct session *session);

/*
 * Reports a failure to the program. Used instead of session_run() if no session is possible. False
 * if the program doesn't take it.
 */
bool session_refuse(int socket, const struct failure *failure);

#endif
