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
 * Takes the process out of what it has inherited from the caller and the caller could end it with:
 * resource limits (CPU time, stack), a low priority, a preference of the kernel's when memory is
 * short, a control group that he may kill or freeze. Returns 0 or a negative errno; `*what` then
 * names the cause.
 */
int privileges_detach(const char **what);

/*
 * Gives up everything except CAP_NET_ADMIN. The process stays root's, so no other user can signal,
 * trace or read it; without capabilities and behind privileges_filter() that gives it nothing else.
 * No other capability can be gained, not even by executing a program. Returns 0 or a negative
 * errno; `*what` then names the cause: EPERM and "CAP_NET_ADMIN" if this root doesn't have it.
 */
int privileges_drop(const char **what);

/* The same without any capability. */
int privileges_none(const char **what);

/*
 * From here on the process is killed for every system call that session.c doesn't need. It can't
 * open a file, make a socket or a process, or take memory. Returns 0 or a negative errno.
 */
int privileges_filter(void);

#endif
