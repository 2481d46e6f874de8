/* privileges.h - whom the helper works for, and what it keeps of root's privileges. */
#ifndef TUNNEL_HELPER_PRIVILEGES_H
#define TUNNEL_HELPER_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * The user who asked for the helper: SUDO_UID under sudo, DOAS_USER under doas, else the real uid.
 * The two variables are believed only when root's real uid shows that such a program has set them;
 * the rest of the environment is cleared. False, with a message on stderr, when they name nobody.
 */
bool privileges_caller(uid_t *caller);

/*
 * Becomes the user `uid`, without supplementary groups, with CAP_NET_ADMIN and nothing else, for
 * good: no other capability can be gained, also not by executing a program, and no process of that
 * user's can read or trace this one. Returns 0 or a negative errno, and in `*what` what it is
 * about: EPERM and "CAP_NET_ADMIN" when this root doesn't have it.
 */
int privileges_drop(uid_t uid, gid_t gid, const char **what);

#endif
