/* fd.h - messages with descriptors over a SOCK_SEQPACKET Unix socket (unix(7), SCM_RIGHTS). */
#ifndef TUNNEL_FD_H
#define TUNNEL_FD_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

/*
 * Sends one whole message and, unless it is -1, a descriptor, of which the caller keeps its own
 * copy. `flags` as for sendmsg(2); MSG_NOSIGNAL is added. Returns 0 or a negative errno.
 */
int fd_send(int socket, const void *message, size_t length, int fd, int flags);

/*
 * Receives one message. `*fd` is the descriptor that came with it (O_CLOEXEC, the caller's to
 * close) or -1; surplus descriptors are closed. Returns the length, 0 at the end, or a negative
 * errno: EMSGSIZE when the message or its descriptors didn't fit and were cut, EAGAIN when there is
 * none on a non-blocking socket.
 */
ssize_t fd_receive(int socket, void *buffer, size_t capacity, int *fd);

/* Who the peer was when it connected or listened (SO_PEERCRED). Returns 0 or a negative errno. */
int fd_peer(int socket, struct ucred *peer);

#endif
