/*
 * failure.h - what the helper reports if a request fails: the fields of struct helper_failed.
 */
#ifndef TUNNEL_HELPER_FAILURE_H
#define TUNNEL_HELPER_FAILURE_H

#include "netlink.h"
#include "protocol.h"

struct failure {
  enum helper_step step;
  int error; /* errno, positive */
  char detail[sizeof((struct helper_failed *)0)->detail];
};

/*
 * Fills `failure`; `error` may be a negative errno. Returns false, so that a caller can return it.
 */
__attribute__((format(printf, 4, 5))) bool failure_set(struct failure *failure,
                                                       enum helper_step step, int error,
                                                       const char *format, ...);

/* "10.0.0.0/8" */
#define PREFIX_TEXT 50
const char *prefix_format(const struct netlink_prefix *prefix, char text[PREFIX_TEXT]);

/* Sets the detail "10.0.0.0/8 text", or only the prefix if `text` is empty. It is cut to fit. */
bool failure_set_prefix(struct failure *failure, enum helper_step step, int error,
                        const struct netlink_prefix *prefix, const char *text);

#endif
