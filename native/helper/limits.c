#include "limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"
#include "mark.h"
#include "resolvers.h"

/* syslog(3): a warning of a daemon. */
#define PRIORITY (3 << 3 | 4)

static struct {
  const char *name;
  unsigned value;
  const char *answer;
  uint64_t count;
} limits[] = {
    [LIMIT_NAME] = {"CLIENT_MAX_NAME", CLIENT_MAX_NAME,
                    "the name and the groups of this user give no rights", 0},
    [LIMIT_GROUPS] = {"CLIENT_MAX_GROUPS", CLIENT_MAX_GROUPS,
                      "the other groups of this user give no rights", 0},
    [LIMIT_RESOLVERS] = {"RESOLVERS_MAX", RESOLVERS_MAX,
                         "of the resolvers in resolv.conf some may not be captured", 0},
    [LIMIT_RESOLV_CONF] = {"RESOLVERS_MAX_BYTES", RESOLVERS_MAX_BYTES,
                           "the rest of resolv.conf is not read", 0},
    [LIMIT_LEFT] = {"MARK_MAX_LEFT", MARK_MAX_LEFT,
                    "the next start removes more of the devices that killed helpers left", 0},
    [LIMIT_ANSWERS] = {"MARK_ANSWERS", MARK_ANSWERS,
                       "who asks whether this helper lives waits for the next second", 0},
    [LIMIT_PATIENCE] = {"MARK_PATIENCE_SECONDS", MARK_PATIENCE_SECONDS,
                        "a device stays, as it is not known whether its helper lives", 0},
};

static int system_log = -1;

void limits_open(void) {
  const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};

  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
    system_log = fd;
  else
    close(fd);
}

void limits_reached(enum limit limit) {
  char text[256];

  const uint64_t count = ++limits[limit].count;
  if (system_log < 0 || (count & (count - 1)) != 0) return;
  const int length = snprintf(text, sizeof text,
                              "<%d>tunnel-helper[%d]: %s (%u): %s (%" PRIu64 " time%s)", PRIORITY,
                              (int)getpid(), limits[limit].name, limits[limit].value,
                              limits[limit].answer, count, count == 1 ? "" : "s");
  if (length > 0 && (size_t)length < sizeof text)
    (void)send(system_log, text, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL);
}
