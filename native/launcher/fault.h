/* fault.h - why the launcher can't go on: the fields of struct launcher_failed. */
#ifndef TUNNEL_LAUNCHER_FAULT_H
#define TUNNEL_LAUNCHER_FAULT_H

#include <stdbool.h>

#include "launcher/protocol.h"

struct fault {
  enum launcher_step step;
  int error; /* errno, positive */
  char detail[sizeof((struct launcher_failed *)0)->detail];
};

/* Fills `fault`; `error` may be a negative errno. Returns false, so that a caller can return it. */
__attribute__((format(printf, 4, 5))) bool fault_set(struct fault *fault, enum launcher_step step,
                                                     int error, const char *format, ...);

#endif
