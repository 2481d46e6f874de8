#include "mark.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "fd.h"
#include "limits.h"
#include "netlink_message.h"

#define BEGINNING "tunnel-helper "
/* Since Linux 5.3, so perhaps not in the headers. */
#define SHOW_UID 0x40
#define ATTRIBUTE_UID 7
/* tcp_states.h of the kernel. */
#define STATE_LISTEN 10

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
  mark->answered = 0;
  mark->since_ms = 0;
  mark->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (mark->socket < 0) return -errno;
  const socklen_t size = address_of(mark->text, &address);
  if (bind(mark->socket, (struct sockaddr *)&address, size) < 0) return -errno;
  return listen(mark->socket, MARK_BACKLOG) < 0 ? -errno : 0;
}

static int64_t now_ms(void) {
  struct timespec now;

  if (clock_gettime(CLOCK_MONOTONIC, &now) < 0) return 0;
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int mark_pause(const struct mark *mark) {
  if (mark->answered < MARK_ANSWERS) return 0;
  const int64_t left = mark->since_ms + MARK_ANSWERS_MS - now_ms();
  return left > 0 ? (int)left : 0;
}

void mark_answer(struct mark *mark) {
  const int64_t now = now_ms();

  if (now - mark->since_ms >= MARK_ANSWERS_MS) {
    mark->since_ms = now;
    mark->answered = 0;
  }
  if (++mark->answered == MARK_ANSWERS) limits_reached(LIMIT_ANSWERS);
  int fd = accept4(mark->socket, NULL, NULL, SOCK_CLOEXEC);
  if (fd >= 0) close(fd);
}

struct listener {
  const char *text;
  bool found;
  uint32_t uid;
};

static void listener_consider(void *context, const struct nlmsghdr *message) {
  struct listener *listener = context;
  const struct rtattr *table[ATTRIBUTE_UID + 1];
  const size_t body = NLMSG_ALIGN(sizeof(struct unix_diag_msg));
  const size_t length = strlen(listener->text);

  if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY || NLMSG_PAYLOAD(message, 0) < body) return;
  netlink_attributes_parse(table, ATTRIBUTE_UID + 1,
                           (const struct rtattr *)((const uint8_t *)NLMSG_DATA(message) + body),
                           NLMSG_PAYLOAD(message, body));
  const struct rtattr *name = table[UNIX_DIAG_NAME], *uid = table[ATTRIBUTE_UID];
  if (name == NULL || uid == NULL || RTA_PAYLOAD(uid) < sizeof listener->uid) return;
  const char *text = RTA_DATA(name);
  if (RTA_PAYLOAD(name) != length + 1 || text[0] != '\0') return;
  if (memcmp(text + 1, listener->text, length) != 0) return;
  listener->found = true;
  listener->uid = netlink_attribute_u32(uid, 0);
}

/*
 * Asks the kernel who listens with this name, so that nobody can keep the answer back. An old
 * kernel doesn't say; and one that is there may be missing if many others come and go meanwhile.
 */
static void listener_find(struct listener *listener) {
  static struct netlink diag; /* static, because it is large */
  const struct unix_diag_req body = {.sdiag_family = AF_UNIX,
                                     .udiag_states = 1u << STATE_LISTEN,
                                     .udiag_show = UDIAG_SHOW_NAME | SHOW_UID};
  struct netlink_request request;

  diag = (struct netlink){.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG)};
  if (diag.fd < 0) return;
  struct nlmsghdr *header =
      netlink_request_begin(&request, SOCK_DIAG_BY_FAMILY, 0, &body, sizeof body);
  (void)netlink_dump(&diag, header, listener_consider, listener);
  netlink_close(&diag);
}

/*
 * Whether a helper has this mark. Who connects may have to wait, if others fill the queue: then
 * nobody knows whose it is, and nothing is removed. `*patience` is what is left of the time for
 * that.
 */
static bool is_alive(const char *text, struct timeval *patience) {
  struct listener listener = {.text = text};
  struct sockaddr_un address;
  struct ucred peer;

  listener_find(&listener);
  if (listener.found) return listener.uid == geteuid();

  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return true; /* unknown */
  const socklen_t size = address_of(text, &address);
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, patience, sizeof *patience);
  bool alive;
  if (connect(fd, (struct sockaddr *)&address, size) == 0) {
    alive = fd_peer(fd, &peer) == 0 && peer.uid == geteuid();
  } else {
    alive = errno == EAGAIN;
    if (alive) {
      *patience = (struct timeval){.tv_usec = 1};
      limits_reached(LIMIT_PATIENCE);
    }
  }
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
  if (strlen(link->alias) >= MARK_SIZE) return;
  for (size_t i = 0; i < marked->count; i++)
    if (marked->links[i].ifindex == link->ifindex) return;
  if (marked->count == MARK_MAX_LEFT) {
    limits_reached(LIMIT_LEFT);
    return;
  }
  marked->links[marked->count++] = *link;
}

int mark_sweep(struct netlink *netlink, char *removed, size_t size) {
  struct timeval patience = {.tv_sec = MARK_PATIENCE_SECONDS};
  struct marked marked = {.count = 0};
  size_t length = 0;
  int count = 0;

  removed[0] = '\0';
  int result = netlink_each_link(netlink, link_consider, &marked);
  if (result < 0) return result;
  for (size_t i = 0; i < marked.count; i++) {
    const struct netlink_link *link = &marked.links[i];
    if (!link->persistent && is_alive(link->alias, &patience)) continue;
    result = netlink_link_delete(netlink, link->ifindex);
    if (result < 0 && result != -ENODEV) return result;
    count++;
    const size_t needed = strlen(link->name) + 1;
    if (length + needed >= size) continue;
    length += (size_t)snprintf(removed + length, size - length, "%s ", link->name);
  }
  return count;
}
