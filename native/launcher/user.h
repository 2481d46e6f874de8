/* user.h - the user that the command runs as. */
#ifndef TUNNEL_LAUNCHER_USER_H
#define TUNNEL_LAUNCHER_USER_H

#include <sys/types.h>

#include "launcher/fault.h"

/* More than the kernel takes are left out (NGROUPS_MAX is 65536; this is more than anybody has). */
#define USER_MAX_GROUPS 1024

struct user {
  uid_t uid;
  gid_t gid;
  int group_count;
  gid_t groups[USER_MAX_GROUPS];
};

/*
 * Finds the user of this process, or as root under sudo or doas, their caller. The caller's groups
 * come from the user database; if the caller isn't in it, the group has the same number as the uid.
 * The database may be asked over the network: so it is done before there is another one.
 */
bool user_find(struct user *user, struct fault *fault);

/*
 * Becomes that user for good, with the user's supplementary groups and without capabilities. Does
 * nothing if this process already runs as that user. From then until execve(2) no other process of
 * the user may trace this one (ptrace(2), PR_SET_DUMPABLE), and so speak for it to the program,
 * which may still be root.
 */
bool user_become(const struct user *user, struct fault *fault);

/*
 * Empties the bounding set, so that no program can have a capability again. Does what it can:
 * without CAP_SETPCAP the set stays, and no_new_privs makes it ineffective.
 */
bool user_drop_bounding_set(struct fault *fault);

/* Drops all capabilities: permitted, effective, inheritable and ambient. */
bool user_drop_capabilities(struct fault *fault);

#endif
