/*
 * mark.h - how a device is known as one of a helper's, by everybody, also after the helper's death.
 *
 *   alias    of the device: "tunnel-helper" and a random number, which only CAP_NET_ADMIN can set
 *   socket   abstract, with the same text as its name, so it is known in the network namespace of
 *            the device only, and ends with the helper. It listens; the kernel says whether it is
 *            root's (sock_diag(7)), or to whoever connects (SO_PEERCRED). It carries nothing.
 *
 * Everybody can connect. So a helper answers MARK_ANSWERS in MARK_ANSWERS_MS at most, and whoever
 * asks doesn't depend on an answer.
 *
 * A marked device of which no helper is alive has been left behind: its helper was killed, which
 * only root can do, and somebody has kept the device's descriptor, or made the device persistent
 * (TUNSETPERSIST, which needs no privilege). It captures, and nobody watches it. A device of ours
 * is never persistent, so a persistent one doesn't stay either, whoever lives.
 */
#ifndef TUNNEL_HELPER_MARK_H
#define TUNNEL_HELPER_MARK_H

#include "netlink.h"

#define MARK_SIZE 32u
/* Devices that are removed in one go. The next start goes on. */
#define MARK_MAX_LEFT 64u
/* Those that wait for an answer; the next ones wait in connect(2). */
#define MARK_BACKLOG 128
#define MARK_ANSWERS 100u
#define MARK_ANSWERS_MS 1000
/* For all answers of one sweep. */
#define MARK_PATIENCE_SECONDS 2

struct mark {
  int socket; /* whoever connects is to be closed: mark_answer() */
  char text[MARK_SIZE];
  unsigned answered; /* since `since_ms` */
  int64_t since_ms;
};

/* Chooses a mark. Returns 0 or a negative errno. */
int mark_open(struct mark *mark);

/* Closes one who has connected. */
void mark_answer(struct mark *mark);

/* For how many milliseconds there are no more answers. */
int mark_pause(const struct mark *mark);

/*
 * Removes devices that were left behind; `removed` gets their names with a space after each, as far
 * as they fit. Returns how many there were, or a negative errno.
 */
int mark_sweep(struct netlink *netlink, char *removed, size_t size);

#endif
