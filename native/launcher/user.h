/* user.h - whose the command is. */
#ifndef TUNNEL_LAUNCHER_USER_H
#define TUNNEL_LAUNCHER_USER_H

#include <sys/types.h>

#include "launcher/fault.h"

struct user {
  uid_t uid;
  gid_t gid;
};

/*
 * The user of this process; as root under sudo or doas, the one who has called those, with the
 * group that the user database has for him, or his uid's number where it knows him not.
 */
bool user_find(struct user *user, struct fault *fault);

/*
 * Becomes that user, with his supplementary groups and without capabilities, for good. Does nothing
 * when it is he already. From then on no other process of his may trace this one (ptrace(2),
 * PR_SET_DUMPABLE), and so speak for it to a program that is still root's; with execve(2) that
 * ends.
 */
bool user_become(const struct user *user, struct fault *fault);

/* Holds no capability from here on. */
bool user_drop_capabilities(struct fault *fault);

#endif
