/*
 * mounts.h - what the command sees other than the host: its resolver, and not the sockets of
 * services that resolve names in the host's network.
 */
#ifndef TUNNEL_LAUNCHER_MOUNTS_H
#define TUNNEL_LAUNCHER_MOUNTS_H

#include <stddef.h>

#include "launcher/fault.h"

/*
 * In the present mount namespace, which must be new: nothing that is mounted here reaches the
 * host's; /etc/resolv.conf is a file with this text; the directories of systemd-resolved's and
 * nscd's sockets are empty, and with `isolate` avahi's too. `*replaced` is false when there is no
 * /etc/resolv.conf, which can't be added without changing the host's.
 */
bool mounts_make(const char *resolv_conf, size_t length, bool isolate, bool *replaced,
                 struct fault *fault);

#endif
