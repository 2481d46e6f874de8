/* connect.h - the helper's end of the connection to the program. */
#ifndef TUNNEL_HELPER_CONNECT_H
#define TUNNEL_HELPER_CONNECT_H

#include "client.h"

/*
 * Connects to the program, which listens at `path`. The directory is opened once and everything is
 * looked up in it, so that the socket that was checked is the one it connects to. All this is done
 * with the client's rights: what it finds, and the errors that it reports, tell the client nothing
 * about places that he can't enter. At the end the kernel says who listens there. Returns the
 * socket, or -1 after a message on stderr.
 */
int connect_to_program(const char *path, const struct client *client);

/*
 * The connection that systemd has accepted for this process (sd_listen_fds(3)), and whose it is.
 * Returns the socket, or -1 after a message on stderr..
 */
int connect_take_passed(uid_t *uid);

#endif
