#include "failure.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool failure_set(struct failure *failure, enum helper_step step, int error, const char *format,
                 ...) {
  va_list arguments;

  failure->step = step;
  failure->error = abs(error);
  va_start(arguments, format);
  vsnprintf(failure->detail, sizeof failure->detail, format, arguments);
  va_end(arguments);
  /*
   * Device names and the kernel's messages come from outside, so control characters must not reach
   * a terminal.
   */
  for (char *at = failure->detail; *at != '\0'; at++)
    if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f) *at = '?';
  return false;
}

const char *prefix_format(const struct netlink_prefix *prefix, char text[PREFIX_TEXT]) {
  char address[INET6_ADDRSTRLEN] = "?";

  inet_ntop(prefix->family == 4 ? AF_INET : AF_INET6, prefix->address, address, sizeof address);
  snprintf(text, PREFIX_TEXT, "%s/%u", address, (unsigned)prefix->length);
  return text;
}

bool failure_set_prefix(struct failure *failure, enum helper_step step, int error,
                        const struct netlink_prefix *prefix, const char *text) {
  char own[PREFIX_TEXT];

  return failure_set(failure, step, error, "%s%s%s", prefix_format(prefix, own),
                     text[0] != '\0' ? " " : "", text);
}
