/* privileges.h - the user that the helper works for, and the privileges that it keeps. */
#ifndef TUNNEL_HELPER_PRIVILEGES_H
#define TUNNEL_HELPER_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * The user who asked for the helper: SUDO_UID under sudo, DOAS_USER under doas, else the real uid.
 * The two variables are used only if the real uid is root's, so that sudo or doas can have set
 * them. Clears the environment. False, with a message on stderr, if they don't name a user.
 */
bool privileges_caller(uid_t *caller);

/*
 * Becomes the user `uid` for good, without supplementary groups and with CAP_NET_ADMIN as the only
 * capability. No other capability can be gained, not even by executing a program, and no process of
 * that user can read or trace this one. Returns 0 or a negative errno; `*what` then names the
 * cause: EPERM and "CAP_NET_ADMIN" if this root doesn't have it.
 */
int privileges_drop(uid_t uid, gid_t gid, const char **what);

#endif
