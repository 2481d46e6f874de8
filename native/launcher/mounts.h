/*
 * mounts.h - the files that the command sees differently from the host: its own resolv.conf, no
 * sockets of services that resolve names in the host's network, and without root some settings of
 * the system's as files of the user's own: what its ssh_config includes, this program's profiles.
 */
#ifndef TUNNEL_LAUNCHER_MOUNTS_H
#define TUNNEL_LAUNCHER_MOUNTS_H

#include <stddef.h>

#include "launcher/fault.h"

/*
 * Sets up the current mount namespace, which must be new. Its mounts don't reach the host.
 * /etc/resolv.conf becomes a file with this text. The directories with the sockets of
 * systemd-resolved and nscd become empty, with `isolate` also avahi's. `*replaced` is false if
 * there is no /etc/resolv.conf, which can't be added without changing the host.
 */
bool mounts_make(const char *resolv_conf, size_t length, bool isolate, bool *replaced,
                 struct fault *fault);

#endif
