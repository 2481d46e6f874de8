#include "session.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "block.h"
#include "fd.h"
#include "routes.h"
#include "tun.h"
#include "unreachable.h"

#define MTU_MIN 1280u /* RFC 8200, 5: IPv6's minimum */
#define MTU_MAX 65535u

/* The longest request. */
struct routes_request {
  struct helper_routes routes;
  struct helper_prefix prefixes[HELPER_MAX_PREFIXES];
};

/* Static, because they are too large for the stack. */
static union {
  struct helper_header header;
  struct helper_create create;
  struct routes_request routes;
} request;
static struct route_set routes_current, routes_wanted;

struct device {
  uint32_t ifindex; /* 0: none yet */
  char name[IF_NAMESIZE];
  struct block block;
  /* Something was withdrawn, and the program still has to ask for the rest (permit.h). */
  bool withdrawn;
  int64_t until_ms;
  struct failure why;
};

/*
 * No message waits for a program that doesn't read: the session ends, since nobody would watch the
 * device meanwhile.
 */

static struct helper_header header_of(enum helper_type type, size_t length) {
  return (struct helper_header){.magic = HELPER_MAGIC,
                                .version = HELPER_VERSION,
                                .type = (uint16_t)type,
                                .length = (uint32_t)length};
}

bool session_refuse(int socket, const struct failure *failure) {
  struct helper_failed message = {.header = header_of(HELPER_FAILED, sizeof message),
                                  .step = failure->step,
                                  .error = failure->error};
  memcpy(message.detail, failure->detail, sizeof message.detail);
  return fd_send(socket, &message, sizeof message, -1, MSG_DONTWAIT) == 0;
}

/* Makes the device. After a failure session_run() deletes what there is of it. */
static bool device_create(struct session *session, struct device *device,
                          struct helper_created *answer, struct failure *failure) {
  const struct helper_create *create = &request.create;

  if (session->tun < 0)
    return failure_set(failure, HELPER_STEP_OPEN_TUN, session->tun, "/dev/net/tun");
  struct netlink_link link;
  int result = tun_create(session->tun, device->name);
  if (result == 0) result = netlink_link_find(&session->netlink, device->name, &link);
  if (result < 0) return failure_set(failure, HELPER_STEP_CREATE_TUN, result, "/dev/net/tun");
  device->ifindex = link.ifindex;
  /* Before the program has the descriptor. */
  result = netlink_link_set_alias(&session->netlink, device->ifindex, session->mark.text);
  if (result < 0)
    return failure_set(failure, HELPER_STEP_CREATE_TUN, result, "%s", session->netlink.reason);

  result = netlink_link_up(&session->netlink, device->ifindex, create->mtu, TUN_QUEUE_FRAMES);
  if (result < 0)
    return failure_set(failure, HELPER_STEP_LINK_UP, result, "%s %s", device->name,
                       session->netlink.reason);
  if (!block_claim(&session->netlink, device->ifindex, create->families, &device->block, failure))
    return false;

  answer->ifindex = device->ifindex;
  memcpy(answer->name, device->name, sizeof answer->name);
  for (size_t i = 0; i < device->block.count; i++) {
    const struct netlink_prefix *address = &device->block.addresses[i];
    if (address->family == 4)
      memcpy(answer->address4, address->address, sizeof answer->address4);
    else
      memcpy(answer->address6, address->address, sizeof answer->address6);
  }
  return true;
}

static void tun_close(struct session *session) {
  if (session->tun >= 0) close(session->tun);
  session->tun = -EBADF;
}

/* CREATE. Returns whether the session goes on. */
static bool handle_create(struct session *session, struct device *device) {
  struct helper_created answer = {.header = header_of(HELPER_CREATED, sizeof answer)};
  struct failure failure;

  if (!device_create(session, device, &answer, &failure)) {
    tun_close(session);
    (void)session_refuse(session->socket, &failure);
    return false;
  }
  int result = fd_send(session->socket, &answer, sizeof answer, session->tun, MSG_DONTWAIT);
  /*
   * From here on the program has the only copy: the device goes away with the program, whatever
   * happens to the helper.
   */
  tun_close(session);
  return result == 0;
}

/* A checked ROUTES. Returns whether the session goes on. */
static bool handle_routes(struct session *session, struct device *device) {
  const struct helper_done done = {.header = header_of(HELPER_DONE, sizeof done)};
  struct failure failure;

  if (!permit_check(&session->permit, &session->netlink, device->ifindex, &routes_wanted,
                    &failure) ||
      !routes_apply(&session->netlink, device->ifindex, &routes_current, &routes_wanted,
                    &failure)) {
    return session_refuse(session->socket, &failure);
  }
  device->withdrawn = false;
  return fd_send(session->socket, &done, sizeof done, -1, MSG_DONTWAIT) == 0;
}

/* A checked UNREACHABLE. Returns whether the session goes on. */
static bool handle_unreachable(struct session *session, const struct device *device) {
  const struct helper_done done = {.header = header_of(HELPER_DONE, sizeof done)};
  struct failure failure;

  /* A part of what is captured may be a network of its own, such as a connected one. */
  if (!permit_check(&session->permit, &session->netlink, device->ifindex, &routes_wanted,
                    &failure) ||
      !unreachable_apply(&session->netlink, device->ifindex, &routes_current, &routes_wanted,
                         &failure))
    return session_refuse(session->socket, &failure);
  return fd_send(session->socket, &done, sizeof done, -1, MSG_DONTWAIT) == 0;
}

/* Checks the prefixes of a request of `length` bytes, and reads them. */
static const char *prefixes_check(size_t length) {
  if (length < sizeof request.routes.routes) return "wrong length of prefixes";
  if (request.routes.routes.count > HELPER_MAX_PREFIXES) return "too many prefixes";
  const size_t prefixes = request.routes.routes.count * sizeof request.routes.prefixes[0];
  if (length != sizeof request.routes.routes + prefixes) return "wrong length of prefixes";
  if (!routes_parse(&routes_wanted, request.routes.prefixes, request.routes.routes.count))
    return "malformed prefix";
  return NULL;
}

/* Checks the request of `length` bytes. Returns the reason to refuse it, or NULL. */
static const char *request_check(size_t length, const struct device *device) {
  const char *objection;

  if (length < sizeof request.header) return "message too short";
  if (request.header.magic != HELPER_MAGIC) return "wrong magic number";
  if (request.header.version != HELPER_VERSION) return "wrong version";
  if (request.header.length != length) return "wrong length";

  switch (request.header.type) {
    case HELPER_CREATE:
      if (length != sizeof request.create) return "wrong length of CREATE";
      if (device->ifindex != 0) return "CREATE more than once";
      if (request.create.families == 0 ||
          (request.create.families & ~(HELPER_IPV4 | HELPER_IPV6)) != 0)
        return "unknown address families";
      if (request.create.mtu < MTU_MIN || request.create.mtu > MTU_MAX) return "MTU out of range";
      return NULL;
    case HELPER_ROUTES:
      if (device->ifindex == 0) return "ROUTES before CREATE";
      return prefixes_check(length);
    case HELPER_UNREACHABLE:
      objection = prefixes_check(length);
      if (objection != NULL) return objection;
      return device->ifindex == 0 && routes_wanted.count > 0 ? "UNREACHABLE before CREATE" : NULL;
    default:
      return "unknown message";
  }
}

/* Handles one message. Returns whether the session goes on. */
static bool session_step(struct session *session, struct device *device) {
  const char *objection;
  struct failure failure;
  int surplus;

  ssize_t length = fd_receive(session->socket, &request, sizeof request, &surplus);
  if (length == 0) return false;
  if (length == -EMSGSIZE)
    objection = "message too long";
  else if (length < 0)
    return false;
  else if (surplus >= 0)
    objection = "unexpected descriptor";
  else
    objection = request_check((size_t)length, device);
  if (surplus >= 0) close(surplus);
  if (objection != NULL) {
    failure_set(&failure, HELPER_STEP_REQUEST, EPROTO, "%s", objection);
    (void)session_refuse(session->socket, &failure);
    return false;
  }
  switch (request.header.type) {
    case HELPER_CREATE:
      return handle_create(session, device);
    case HELPER_ROUTES:
      return handle_routes(session, device);
    default:
      return handle_unreachable(session, device);
  }
}

/* While the machine sleeps, the time stands still, as the program does. */
static int64_t monotonic_ms(void) {
  struct timespec now;

  if (clock_gettime(CLOCK_MONOTONIC, &now) < 0) return INT64_MAX;
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Withdraws what may be captured no longer. False, with the failure, if the session ends. */
static bool review(struct session *session, struct device *device, struct failure *failure) {
  struct failure other;

  if (!permit_review(&session->permit, &session->netlink, device->ifindex, &routes_current,
                     &routes_wanted, failure)) {
    /* Tells this from the answer to a request. */
    if (failure->error != EPERM)
      failure_set(failure, HELPER_STEP_PERMIT, failure->error, "* unknown %d", failure->error);
    failure->error = ESTALE;
    return false;
  }
  if (routes_wanted.count == routes_current.count) return true;
  if (!device->withdrawn) device->until_ms = monotonic_ms() + PERMIT_GRACE_MS;
  device->withdrawn = true;
  device->why = *failure;
  device->why.error = ESTALE;
  *failure = device->why;
  return routes_apply(&session->netlink, device->ifindex, &routes_current, &routes_wanted, &other);
}

/* Handles notifications. Returns whether the session goes on. */
static bool session_watch(struct session *session, struct device *device) {
  const struct watched watched = {.ifindex = device->ifindex,
                                  .name = device->name,
                                  .block = &device->block,
                                  .routes = &routes_current};
  struct failure failure;

  if (watch_step(&session->watch, &session->netlink, &watched, &failure) &&
      (!watch_take_joined(&session->watch) || review(session, device, &failure)))
    return true;
  (void)session_refuse(session->socket, &failure);
  return false;
}

/* Whether the program has taken note of what was withdrawn, or still has time. */
static bool session_in_time(struct session *session, const struct device *device) {
  if (!device->withdrawn || monotonic_ms() < device->until_ms) return true;
  (void)session_refuse(session->socket, &device->why);
  return false;
}

/* Until something is due that poll(2) doesn't report, in milliseconds. */
static int time_left(const struct device *device, int pause) {
  if (!device->withdrawn) return pause > 0 ? pause : -1;
  const int64_t left = device->until_ms - monotonic_ms();
  if (left <= 0) return 0;
  return pause > 0 && pause < left ? pause : (int)left;
}

/*
 * Deletes the device, even if the program has made it persistent, or somebody has renamed it. If
 * the program has ended, the kernel has usually done it.
 */
static void device_delete(struct session *session, const struct device *device) {
  struct netlink_link link;

  if (device->ifindex == 0) return;
  if (netlink_link_get(&session->netlink, device->ifindex, &link) < 0) return;
  /* The number may be another device's by now. */
  if (strcmp(link.alias, session->mark.text) != 0 && strcmp(link.name, device->name) != 0) return;
  (void)netlink_link_delete(&session->netlink, device->ifindex);
}

void session_run(struct session *session) {
  struct helper_hello hello = {.header = header_of(HELPER_HELLO, sizeof hello), .pid = getpid()};
  struct device device = {.ifindex = 0};
  memcpy(hello.removed, session->removed, sizeof hello.removed);
  bool serving = fd_send(session->socket, &hello, sizeof hello, -1, MSG_DONTWAIT) == 0;

  while (serving) {
    const int pause = mark_pause(&session->mark);
    struct pollfd ready[] = {{.fd = session->socket, .events = POLLIN},
                             {.fd = session->signals, .events = POLLIN},
                             {.fd = session->watch.notices.fd, .events = POLLIN},
                             {.fd = session->mark.socket, .events = pause == 0 ? POLLIN : 0}};
    if (poll(ready, sizeof ready / sizeof ready[0], time_left(&device, pause)) < 0) {
      serving = errno == EINTR;
      continue;
    }
    /*
     * The program comes first: if it has ended, its device has gone too, which must not count as a
     * loss. But it can't keep the rest waiting with requests.
     */
    serving = ready[1].revents == 0;
    if (serving && ready[0].revents != 0) serving = session_step(session, &device);
    if (serving && ready[2].revents != 0) serving = session_watch(session, &device);
    if (serving && ready[3].revents != 0) mark_answer(&session->mark);
    serving = serving && session_in_time(session, &device);
  }
  tun_close(session);
  device_delete(session, &device);
}
