/*
 * link.h - the program's end of the connection to the privileged helper (helper/protocol.h) or to a
 * launcher (launcher/protocol.h). Needs no privileges.
 *
 * A separate thread waits on a listening SOCK_SEQPACKET socket for one peer that runs as root,
 * closes all other connections, and then reads messages until the other side closes. States:
 * listening -> connected -> ended. With a socket pair, or where root listens already, it starts as
 * connected.
 */
#ifndef TUNNEL_LINK_H
#define TUNNEL_LINK_H

#include <stddef.h>
#include <stdint.h>

/*
 * Longer messages end the link with EMSGSIZE; all messages to the program are shorter, and so are
 * those of system/privileged/protocol.ts.
 */
#define LINK_MESSAGE_CAPACITY 65536u

struct helper_link;

/*
 * Called on the link's thread with a message, valid during the call, and its descriptor (-1: none),
 * which the callee must close. The last call has `message` NULL and the reason for the end: 0 if
 * the other side closed, else an errno.
 */
typedef void (*helper_link_callback)(void *context, const uint8_t *message, size_t length, int fd,
                                     int error);

/*
 * Listens at `path`, which must not exist yet. Returns NULL and sets `*error` (an errno) if it
 * can't.
 */
struct helper_link *helper_link_listen(const char *path, helper_link_callback callback,
                                       void *context, int *error);

/*
 * Connects to `path`, where root listens. Returns NULL and sets `*error` if it can't: EPERM if it
 * is somebody else who listens there, EAGAIN if too many wait.
 */
struct helper_link *helper_link_connect(const char *path, helper_link_callback callback,
                                        void *context, int *error);

/*
 * Makes a link with one end of a new socket pair. `*other` is the other end (close-on-exec), for a
 * child process; the caller must close it.
 */
struct helper_link *helper_link_pair(int *other, helper_link_callback callback, void *context,
                                     int *error);

/*
 * Makes a link of a connected SOCK_SEQPACKET socket whose other end was made by root; it becomes
 * close-on-exec. Returns NULL and sets `*error` if it isn't one (EPERM: not root's); the caller
 * then keeps it.
 */
struct helper_link *helper_link_adopt(int socket, helper_link_callback callback, void *context,
                                      int *error);

/*
 * Sends a message without waiting. Returns 0 or an errno: ENOTCONN before a peer has connected,
 * EAGAIN if the peer doesn't read.
 */
int helper_link_send(struct helper_link *link, const void *message, size_t length);

/*
 * Ends the sending direction: there will be no more requests, so the helper undoes what it did and
 * closes. Returns 0 or an errno.
 */
int helper_link_shutdown(struct helper_link *link);

/*
 * Closes everything, waits for the thread to end (no callback comes after that) and frees the link.
 * Doesn't remove `path`.
 */
void helper_link_close(struct helper_link *link);

#endif
