/* fd.h - messages with descriptors over a SOCK_SEQPACKET Unix socket (unix(7), SCM_RIGHTS). */
#ifndef TUNNEL_FD_H
#define TUNNEL_FD_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

/*
 * Sends one whole message, and a descriptor unless it is -1. The caller keeps its own copy of it.
 * `flags` as for sendmsg(2); MSG_NOSIGNAL is added. Returns 0 or a negative errno.
 */
int fd_send(int socket, const void *message, size_t length, int fd, int flags);

/*
 * Receives one message. `*fd` is its descriptor (O_CLOEXEC; the caller must close it) or -1.
 * Surplus descriptors are closed. Returns the length, 0 at the end, or a negative errno: EMSGSIZE
 * if the message or its descriptors didn't fit, EAGAIN if a non-blocking socket has no message.
 */
ssize_t fd_receive(int socket, void *buffer, size_t capacity, int *fd);

/*
 * Gets the peer's credentials when it connected or listened (SO_PEERCRED). Returns 0 or a negative
 * errno.
 */
int fd_peer(int socket, struct ucred *peer);

/* Closes this descriptor and all above it. */
void fd_close_from(int first);

/*
 * Has this descriptor and all above it closed in programs that this process starts, unless they are
 * passed on by name. Before Linux 5.11 it does nothing.
 */
void fd_keep_from_children(int first);

#endif
