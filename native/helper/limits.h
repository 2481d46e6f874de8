/*
 * limits.h - the limits of the helper that leave something out without an answer to the program.
 * Each is counted, and named in the system log the first time, the second, the fourth and so on, so
 * that nobody who reaches one on purpose can fill the log.
 *
 *   tunnel-helper[123]: MARK_ANSWERS (100): ... (4 times)
 *
 * All other limits are told to the program with the answer (FAILED of protocol.h).
 */
#ifndef TUNNEL_HELPER_LIMITS_H
#define TUNNEL_HELPER_LIMITS_H

enum limit {
  LIMIT_NAME,        /* CLIENT_MAX_NAME */
  LIMIT_GROUPS,      /* CLIENT_MAX_GROUPS */
  LIMIT_RESOLVERS,   /* RESOLVERS_MAX */
  LIMIT_RESOLV_CONF, /* RESOLVERS_MAX_BYTES */
  LIMIT_LEFT,        /* MARK_MAX_LEFT */
  LIMIT_ANSWERS,     /* MARK_ANSWERS */
  LIMIT_PATIENCE,    /* MARK_PATIENCE_SECONDS */
};

/* Connects to the system log, while the process still may. Without one nothing is told. */
void limits_open(void);

/* Counts, and never waits for the log. */
void limits_reached(enum limit limit);

#endif
