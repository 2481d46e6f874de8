/* namespaces.h - namespaces of the command's own (namespaces(7), user_namespaces(7)). */
#ifndef TUNNEL_LAUNCHER_NAMESPACES_H
#define TUNNEL_LAUNCHER_NAMESPACES_H

#include "launcher/fault.h"

/*
 * Moves this single-threaded process into a new network and a new mount namespace, with the right
 * to configure both. Who has CAP_SYS_ADMIN and CAP_NET_ADMIN uses them; everybody else also gets a
 * user namespace, in which the user and group are mapped onto themselves. Supplementary groups keep
 * their effect but can't be named or changed there.
 */
bool namespaces_enter(struct fault *fault);

/* Whether it has these two. */
bool namespaces_is_privileged(void);

/* Writes `text` to a file of the kernel's in one go. Returns 0 or a negative errno. */
int namespaces_write(const char *path, const char *text);

#endif
