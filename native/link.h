/*
 * link.h - the program's end of its conversation with the privileged helper (helper/protocol.h) or
 * with a launcher (launcher/protocol.h), without privileges.
 *
 * A thread of its own waits at a listening SOCK_SEQPACKET socket for one peer that runs as root,
 * closes whoever else comes, and then reads messages until the other side closes. States: listening
 * -> connected -> ended. Of a pair, which needs no introduction, it reads at once.
 */
#ifndef TUNNEL_LINK_H
#define TUNNEL_LINK_H

#include <stddef.h>
#include <stdint.h>

/* Longer messages end the link with EMSGSIZE; every message of the helper's is shorter. */
#define LINK_MESSAGE_CAPACITY 4096u

struct helper_link;

/*
 * Called on the link's thread. A message, valid during the call, and the descriptor that came with
 * it (-1: none), which is the callee's; or, once and last, `message` NULL and why it ended: 0 the
 * other side closed, else an errno.
 */
typedef void (*helper_link_callback)(void *context, const uint8_t *message, size_t length, int fd,
                                     int error);

/* Listens at `path`, which must not exist yet. NULL and `*error` (an errno) when it can't. */
struct helper_link *helper_link_listen(const char *path, helper_link_callback callback,
                                       void *context, int *error);

/**
 * A link with one end of a new socket pair; `*other` is the other end (close-on-exec, the
 * caller's), for a child process.
 */
struct helper_link *helper_link_pair(int *other, helper_link_callback callback, void *context,
                                     int *error);

/**
 * Sends a message without waiting. Returns 0 or an errno: ENOTCONN before a peer has come, EAGAIN
 * when it doesn't read.
 */
int helper_link_send(struct helper_link *link, const void *message, size_t length);

/**
 * Ends the sending direction: nothing more will be asked, so the helper undoes what it did and
 * closes. 0 or an errno.
 */
int helper_link_shutdown(struct helper_link *link);

/**
 * Closes everything, waits for the thread (the callback isn't called any more) and frees the link.
 * Leaves `path`.
 */
void helper_link_close(struct helper_link *link);

#endif
