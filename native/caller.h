/* caller.h - who has started this process as root by way of sudo or doas. */
#ifndef TUNNEL_CALLER_H
#define TUNNEL_CALLER_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * The user who has started this process: SUDO_UID under sudo, DOAS_USER under doas, else the real
 * uid. The two variables are believed only when root's real uid shows that such a program can have
 * set them. Where both are set, only one of them is that program's, the other may be anybody's:
 * they must name the same user. Returns NULL, or what is wrong with them.
 */
const char *caller_find(uid_t *caller);

#endif
