/* caller.h - finds the user who started this process as root through sudo or doas. */
#ifndef TUNNEL_CALLER_H
#define TUNNEL_CALLER_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * The user who started this process: SUDO_UID under sudo, DOAS_USER under doas, else the real uid.
 * The two variables are used only if the real uid is root's, so that sudo or doas can have set
 * them. If both are set, one of them may come from anybody, so they must name the same user.
 * Returns NULL, or a message that says what is wrong with them.
 */
const char *caller_find(uid_t *caller);

#endif
