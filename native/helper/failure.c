#include "failure.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool failure_set(struct failure *failure, enum helper_step step, int error, const char *format, ...) {
  va_list arguments;

  failure->step = step;
  failure->error = abs(error);
  va_start(arguments, format);
  vsnprintf(failure->detail, sizeof failure->detail, format, arguments);
  va_end(arguments);
  /* Device names are the administrator's choice and reasons the kernel's: nothing of them may reach a terminal raw. */
  for (char *at = failure->detail; *at != '\0'; at++)
    if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f) *at = '?';
  return false;
}

bool failure_set_prefix(struct failure *failure, enum helper_step step, int error,
                        const struct netlink_prefix *prefix, const char *text) {
  char address[INET6_ADDRSTRLEN] = "?";

  inet_ntop(prefix->family == 4 ? AF_INET : AF_INET6, prefix->address, address, sizeof address);
  return failure_set(failure, step, error, "%s/%u%s%s", address, (unsigned)prefix->length, text[0] != '\0' ? " " : "",
                     text);
}
