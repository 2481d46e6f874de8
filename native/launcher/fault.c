#include "launcher/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool fault_set(struct fault *fault, enum launcher_step step, int error, const char *format, ...) {
  va_list arguments;

  fault->step = step;
  fault->error = abs(error);
  va_start(arguments, format);
  vsnprintf(fault->detail, sizeof fault->detail, format, arguments);
  va_end(arguments);
  /* Paths and reasons come from outside, so control characters must not reach a terminal. */
  for (char *at = fault->detail; *at != '\0'; at++)
    if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f) *at = '?';
  return false;
}
