/* namespaces.h - the command's own namespaces (namespaces(7), user_namespaces(7)). */
#ifndef TUNNEL_LAUNCHER_NAMESPACES_H
#define TUNNEL_LAUNCHER_NAMESPACES_H

#include "launcher/fault.h"

/*
 * Moves this single-threaded process into a new network and a new mount namespace, with the right
 * to configure both. A process without CAP_SYS_ADMIN and CAP_NET_ADMIN also enters a new user
 * namespace, in which its user and group are mapped onto themselves. Supplementary groups keep
 * their effect, but can't be named or changed there.
 */
bool namespaces_enter(struct fault *fault);

/* Whether this process has CAP_SYS_ADMIN and CAP_NET_ADMIN. */
bool namespaces_is_privileged(void);

/* Writes `text` to a file of the kernel in a single write. Returns 0 or a negative errno. */
int namespaces_write(const char *path, const char *text);

#endif
