/* caller.h - who has started this process as root by way of sudo or doas. */
#ifndef TUNNEL_CALLER_H
#define TUNNEL_CALLER_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * The user who has started this process: SUDO_UID under sudo, DOAS_USER under doas, else the real uid. The two variables are
 * believed only when root's real uid shows that such a program can have set them. Returns NULL, or the name of the variable
 * that names nobody.
 */
const char *caller_find(uid_t *caller);

#endif
