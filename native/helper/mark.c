#include "mark.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "fd.h"

#define BEGINNING "tunnel-helper "
#define BACKLOG 16
/* A helper answers at once, unless it waits for thousands of routes. */
#define ANSWER_SECONDS 2

static socklen_t address_of(const char *text, struct sockaddr_un *address) {
  const size_t length = strlen(text);

  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  memcpy(address->sun_path + 1, text, length); /* after the NUL that makes it abstract */
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

int mark_open(struct mark *mark) {
  struct sockaddr_un address;
  uint64_t number;

  if (getrandom(&number, sizeof number, 0) != sizeof number) return -errno;
  snprintf(mark->text, sizeof mark->text, BEGINNING "%016" PRIx64, number);
  mark->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (mark->socket < 0) return -errno;
  const socklen_t size = address_of(mark->text, &address);
  if (bind(mark->socket, (struct sockaddr *)&address, size) < 0) return -errno;
  return listen(mark->socket, BACKLOG) < 0 ? -errno : 0;
}

void mark_answer(const struct mark *mark) {
  int fd = accept4(mark->socket, NULL, NULL, SOCK_CLOEXEC);
  if (fd >= 0) close(fd);
}

/* Whether a helper has this mark. One that is alive but doesn't answer counts as gone. */
static bool is_alive(const char *text) {
  const struct timeval patience = {.tv_sec = ANSWER_SECONDS};
  struct sockaddr_un address;
  struct ucred peer;

  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return true; /* unknown: nothing is removed */
  const socklen_t size = address_of(text, &address);
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const bool alive = connect(fd, (struct sockaddr *)&address, size) == 0 &&
                     fd_peer(fd, &peer) == 0 && peer.uid == geteuid();
  close(fd);
  return alive;
}

struct marked {
  size_t count;
  struct netlink_link links[MARK_MAX_LEFT];
};

static void link_consider(void *context, const struct netlink_link *link) {
  struct marked *marked = context;

  if (strncmp(link->alias, BEGINNING, strlen(BEGINNING)) != 0) return;
  if (strlen(link->alias) >= MARK_SIZE || marked->count == MARK_MAX_LEFT) return;
  for (size_t i = 0; i < marked->count; i++)
    if (marked->links[i].ifindex == link->ifindex) return;
  marked->links[marked->count++] = *link;
}

int mark_sweep(struct netlink *netlink, char *removed, size_t size) {
  struct marked marked = {.count = 0};
  size_t length = 0;
  int count = 0;

  removed[0] = '\0';
  int result = netlink_each_link(netlink, link_consider, &marked);
  if (result < 0) return result;
  for (size_t i = 0; i < marked.count; i++) {
    const struct netlink_link *link = &marked.links[i];
    if (!link->persistent && is_alive(link->alias)) continue;
    result = netlink_link_delete(netlink, link->ifindex);
    if (result < 0 && result != -ENODEV) return result;
    count++;
    const size_t needed = strlen(link->name) + 1;
    if (length + needed >= size) continue;
    length += (size_t)snprintf(removed + length, size - length, "%s ", link->name);
  }
  return count;
}
