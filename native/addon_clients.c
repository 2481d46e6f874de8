/*
 * addon_clients.c - the clients of proxies, for src/capture/proxy/native*.ts: listening sockets and
 * what they accept, in one epoll(7) set on Node's own event loop.
 *
 *   clientsListen() -> a listening socket in the set
 *   ready: uv_poll -> epoll_wait() -> `events` -> onReady(count)
 *     a listener  -> clientsAccept(): up to 32 clients, and whose they are (sock_diag(7))
 *     a client    -> JavaScript reads and writes it (addon_transfer.c)
 *   clientsWatch() -> a client in the set, once it has been read for the first time: what it has
 *                     to say has often come by then
 *   clientsRelease() -> not in the set any more, for Node's own sockets
 *
 * A client costs no handle of libuv's and no object of Node's, and many that are ready cost one
 * call of JavaScript. Clients are watched edge-triggered: each event is told once, and JavaScript
 * reads until nothing is left. Listeners are watched level-triggered.
 *
 * Where no descriptor is left, one that is kept in reserve is given up to accept the next client
 * and close it: otherwise the listener would be ready for ever. libuv does the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addon.h"
#include "loop.h"
#include "sockdiag.h"

enum { MOST_EVENTS = 64, CLIENT_EVENTS = EPOLLIN | EPOLLRDHUP };

/* What is ready, for JavaScript. */
struct event {
  int32_t fd;
  uint32_t events;
};

/* A client, for JavaScript. The ports are in the machine's order. */
struct accepted {
  int32_t fd;
  uint32_t address_length;
  uint32_t known; /* 1: `user` is whose it is; 0: it can't be told here */
  uint32_t user;
  uint16_t port, own_port;
  uint8_t address[16], own_address[16];
};
enum { ACCEPTED_OCTETS = 52 };
_Static_assert(sizeof(struct accepted) == ACCEPTED_OCTETS, "there is no padding");

struct addon_clients {
  napi_env env;
  napi_ref on_ready, memory;
  napi_async_context context;
  uv_handle_t *poll;
  struct event *events; /* MOST_EVENTS of them, in `memory` */
  int set;              /* -1: closed */
  int reserve;          /* a descriptor to give up; -1: none */
};

static void poll_closed(uv_handle_t *poll) { free(poll); }

/* Also used as the environment's clean-up hook. May be called more than once. */
static void clients_close(void *data) {
  struct addon_clients *clients = data;

  if (clients->set < 0) return;
  (void)uv_poll_stop(clients->poll);
  uv_close(clients->poll, poll_closed);
  close(clients->set);
  clients->set = -1;
  if (clients->reserve >= 0) close(clients->reserve);
  (void)napi_remove_env_cleanup_hook(clients->env, clients_close, clients);
  (void)napi_delete_reference(clients->env, clients->on_ready);
  (void)napi_delete_reference(clients->env, clients->memory);
  (void)napi_async_destroy(clients->env, clients->context);
}

static void clients_finalized(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  clients_close(data);
  free(data);
}

static void clients_ready(uv_handle_t *poll, int status, int events) {
  struct addon_clients *clients = uv_handle_get_data(poll);
  struct epoll_event ready[MOST_EVENTS];
  napi_env env = clients->env;
  napi_handle_scope scope;
  napi_value callback, receiver, number, thrown;

  (void)status;
  (void)events;
  const int count = epoll_wait(clients->set, ready, MOST_EVENTS, 0);
  if (count <= 0) return;
  for (int i = 0; i < count; i++)
    clients->events[i] = (struct event){.fd = ready[i].data.fd, .events = ready[i].events};
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  if (napi_get_reference_value(env, clients->on_ready, &callback) == napi_ok &&
      napi_get_global(env, &receiver) == napi_ok &&
      napi_create_int32(env, count, &number) == napi_ok &&
      napi_make_callback(env, clients->context, receiver, callback, 1, &number, NULL) ==
          napi_pending_exception &&
      napi_get_and_clear_last_exception(env, &thrown) == napi_ok)
    (void)napi_fatal_exception(env, thrown);
  (void)napi_close_handle_scope(env, scope);
}

static int open_reserve(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

/* clientsOpen(events, onReady): throws if there is no descriptor or no memory for it. */
static napi_value clients_open_js(napi_env env, napi_callback_info info) {
  size_t argc = 2, capacity;
  napi_value argv[2], object, name;
  napi_valuetype type;
  uv_loop_t *loop;
  uint8_t *memory;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      !addon_octets(env, argv[0], &memory, &capacity) ||
      capacity < MOST_EVENTS * sizeof(struct event) ||
      (uintptr_t)memory % _Alignof(struct event) != 0 ||
      napi_typeof(env, argv[1], &type) != napi_ok || type != napi_function) {
    napi_throw_type_error(env, NULL, "clientsOpen(Uint8Array, onReady)");
    return NULL;
  }
  struct addon_clients *clients = calloc(1, sizeof *clients);
  if (clients == NULL) return addon_throw_errno(env, "clientsOpen", ENOMEM);
  clients->env = env;
  clients->events = (struct event *)memory;
  clients->set = epoll_create1(EPOLL_CLOEXEC);
  int error = clients->set < 0 ? errno : 0;
  if (error == 0 && napi_get_uv_event_loop(env, (struct uv_loop_s **)&loop) != napi_ok)
    error = ENOSYS;
  clients->poll = error == 0 ? calloc(1, uv_handle_size(LOOP_POLL_HANDLE)) : NULL;
  if (error == 0 && clients->poll == NULL) error = ENOMEM;
  if (error == 0) error = -uv_poll_init(loop, clients->poll, clients->set);
  if (error != 0) {
    if (clients->set >= 0) close(clients->set);
    free(clients->poll);
    free(clients);
    return addon_throw_errno(env, "clientsOpen", error);
  }
  uv_handle_set_data(clients->poll, clients);
  clients->reserve = open_reserve();
  /* From here on clients_close() cleans up. */
  if (napi_create_string_utf8(env, "proxy clients", NAPI_AUTO_LENGTH, &name) == napi_ok &&
      napi_async_init(env, NULL, name, &clients->context) == napi_ok &&
      napi_create_reference(env, argv[1], 1, &clients->on_ready) == napi_ok &&
      napi_create_reference(env, argv[0], 1, &clients->memory) == napi_ok &&
      napi_add_env_cleanup_hook(env, clients_close, clients) == napi_ok &&
      (error = -uv_poll_start(clients->poll, LOOP_READABLE, clients_ready)) == 0 &&
      napi_create_external(env, clients, clients_finalized, NULL, &object) == napi_ok)
    return object;
  clients_finalized(env, clients, NULL);
  return addon_throw_errno(env, "clientsOpen", error > 0 ? error : ENOMEM);
}

/* What clientsOpen() returned, and is not closed; NULL after throwing if it isn't that. */
static struct addon_clients *clients_argument(napi_env env, napi_value value) {
  void *data = NULL;
  if (napi_get_value_external(env, value, &data) == napi_ok &&
      ((struct addon_clients *)data)->set >= 0)
    return data;
  napi_throw_type_error(env, NULL, "the first argument must be what clientsOpen returned");
  return NULL;
}

static int watch(const struct addon_clients *clients, int call, int fd, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  return epoll_ctl(clients->set, call, fd, &event) < 0 ? errno : 0;
}

/* Linux copies the options of a listening socket to those that it accepts: no calls for each. */
struct keepalive {
  int idle, interval, probes;
};

/* A listening socket, or a negative errno. `address` has 4 octets, or 16. */
static int listening(const uint8_t *address, size_t length, uint16_t port, int backlog,
                     const struct keepalive *keepalive) {
  struct sockaddr_in plain = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct sockaddr_in6 long_one = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  const bool is_plain = length == 4;
  const struct sockaddr *at = is_plain ? (struct sockaddr *)&plain : (struct sockaddr *)&long_one;
  const socklen_t size = is_plain ? sizeof plain : sizeof long_one;
  const int on = 1;

  memcpy(is_plain ? (void *)&plain.sin_addr : (void *)&long_one.sin6_addr, address, length);
  const int fd =
      socket(is_plain ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
      (is_plain || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
      setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &keepalive->idle, sizeof(int)) == 0 &&
      setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &keepalive->interval, sizeof(int)) == 0 &&
      setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &keepalive->probes, sizeof(int)) == 0 &&
      setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) == 0 && bind(fd, at, size) == 0 &&
      listen(fd, backlog) == 0)
    return fd;
  const int error = errno;
  close(fd);
  return -error;
}

/* The address and the port of a socket, of IPv4 or IPv6. Returns the octets of the address. */
static size_t end_of(const struct sockaddr_storage *socket, uint8_t address[16], uint16_t *port) {
  const struct sockaddr_in *plain = (const struct sockaddr_in *)socket;
  const struct sockaddr_in6 *long_one = (const struct sockaddr_in6 *)socket;

  if (socket->ss_family == AF_INET) {
    *port = ntohs(plain->sin_port);
    memcpy(address, &plain->sin_addr, 4);
    return 4;
  }
  *port = ntohs(long_one->sin6_port);
  memcpy(address, &long_one->sin6_addr, 16);
  return 16;
}

/* clientsListen(clients, address, port, backlog, idle, interval, probes): [fd, port] */
static napi_value clients_listen_js(napi_env env, napi_callback_info info) {
  size_t argc = 7, length;
  napi_value argv[7], result, number;
  uint8_t *address, bound_to[16];
  uint32_t port;
  uint16_t bound;
  int32_t backlog;
  struct keepalive keepalive;
  struct sockaddr_storage name;
  socklen_t size = sizeof name;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 7 ||
      !addon_octets(env, argv[1], &address, &length) || (length != 4 && length != 16) ||
      napi_get_value_uint32(env, argv[2], &port) != napi_ok || port > UINT16_MAX ||
      napi_get_value_int32(env, argv[3], &backlog) != napi_ok ||
      napi_get_value_int32(env, argv[4], &keepalive.idle) != napi_ok ||
      napi_get_value_int32(env, argv[5], &keepalive.interval) != napi_ok ||
      napi_get_value_int32(env, argv[6], &keepalive.probes) != napi_ok) {
    napi_throw_type_error(env, NULL, "clientsListen(clients, address, port, ...numbers)");
    return NULL;
  }
  const struct addon_clients *clients = clients_argument(env, argv[0]);
  if (clients == NULL) return NULL;
  const int fd = listening(address, length, (uint16_t)port, backlog, &keepalive);
  if (fd < 0) return addon_throw_errno(env, "listen", -fd);
  int error = getsockname(fd, (struct sockaddr *)&name, &size) < 0 ? errno : 0;
  if (error == 0) error = watch(clients, EPOLL_CTL_ADD, fd, EPOLLIN);
  if (error != 0) {
    close(fd);
    return addon_throw_errno(env, "listen", error);
  }
  (void)end_of(&name, bound_to, &bound);
  if (napi_create_array_with_length(env, 2, &result) == napi_ok &&
      napi_create_int32(env, fd, &number) == napi_ok &&
      napi_set_element(env, result, 0, number) == napi_ok &&
      napi_create_uint32(env, bound, &number) == napi_ok &&
      napi_set_element(env, result, 1, number) == napi_ok)
    return result;
  close(fd);
  return addon_throw_errno(env, "listen", ENOMEM);
}

/* No descriptor is left: the next client is accepted with the one in reserve, and closed. */
static void turn_one_away(struct addon_clients *clients, int listener) {
  if (clients->reserve >= 0) {
    close(clients->reserve);
    const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) close(fd);
  }
  clients->reserve = open_reserve();
}

/* Accepts one client. Returns 0 or an errno: EAGAIN if none waits. */
static int accept_one(struct addon_clients *clients, int listener, struct accepted *client) {
  struct sockaddr_storage peer, own;
  socklen_t size = sizeof peer, own_size = sizeof own;

  const int fd =
      accept4(listener, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    const int error = errno;
    if (error == EMFILE || error == ENFILE) turn_one_away(clients, listener);
    return error;
  }
  if (getsockname(fd, (struct sockaddr *)&own, &own_size) < 0) {
    const int error = errno;
    close(fd);
    return error;
  }
  *client = (struct accepted){.fd = fd};
  client->address_length = (uint32_t)end_of(&peer, client->address, &client->port);
  (void)end_of(&own, client->own_address, &client->own_port);
  return 0;
}

static void find_owners(struct accepted *clients, uint32_t count) {
  struct sockdiag_question questions[SOCKDIAG_MOST];
  uint32_t owners[2 * SOCKDIAG_MOST];

  memset(questions, 0, count * sizeof *questions);
  for (uint32_t i = 0; i < count; i++) {
    questions[i].address_length = (uint8_t)clients[i].address_length;
    questions[i].port = htons(clients[i].port);
    questions[i].peer_port = htons(clients[i].own_port);
    memcpy(questions[i].address, clients[i].address, sizeof clients[i].address);
    memcpy(questions[i].peer, clients[i].own_address, sizeof clients[i].own_address);
  }
  if (sockdiag_owners(questions, count, owners) != 0) return;
  for (uint32_t i = 0; i < count; i++) {
    /* Inode 0: no process has it any more. */
    clients[i].known = owners[2 * i + 1] != 0;
    clients[i].user = owners[2 * i];
  }
}

/*
 * clientsAccept(clients, listener, asks, accepted): how many; negative: none because of an errno,
 * EAGAIN among them. `asks`: whose they are.
 */
static napi_value clients_accept_js(napi_env env, napi_callback_info info) {
  size_t argc = 4, capacity;
  napi_value argv[4], result;
  int32_t listener;
  bool asks;
  uint8_t *memory;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 4 ||
      napi_get_value_int32(env, argv[1], &listener) != napi_ok ||
      napi_get_value_bool(env, argv[2], &asks) != napi_ok ||
      !addon_octets(env, argv[3], &memory, &capacity) ||
      capacity < SOCKDIAG_MOST * sizeof(struct accepted) ||
      (uintptr_t)memory % _Alignof(struct accepted) != 0) {
    napi_throw_type_error(env, NULL, "clientsAccept(clients, listener, asks, Uint8Array)");
    return NULL;
  }
  struct addon_clients *clients = clients_argument(env, argv[0]);
  if (clients == NULL) return NULL;
  struct accepted *accepted = (struct accepted *)memory;
  uint32_t count = 0;
  int error = 0;
  while (count < SOCKDIAG_MOST && error == 0) {
    error = accept_one(clients, listener, &accepted[count]);
    if (error == 0)
      count++;
    else if (error == EINTR || error == ECONNABORTED)
      error = 0;
  }
  if (asks && count > 0) find_owners(accepted, count);
  const int32_t answer = count > 0 ? (int32_t)count : -error;
  return napi_create_int32(env, answer, &result) == napi_ok ? result : NULL;
}

/* A change of the set for one client: `name`(clients, fd). */
static napi_value change_js(napi_env env, napi_callback_info info, const char *name, int call,
                            uint32_t events) {
  size_t argc = 2;
  napi_value argv[2];
  int32_t fd;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_get_value_int32(env, argv[1], &fd) != napi_ok) {
    napi_throw_type_error(env, NULL, "what clientsOpen returned and a descriptor are needed");
    return NULL;
  }
  const struct addon_clients *clients = clients_argument(env, argv[0]);
  if (clients == NULL) return NULL;
  const int error = watch(clients, call, fd, events);
  return error == 0 ? NULL : addon_throw_errno(env, name, error);
}

/* clientsWatch(clients, fd) */
static napi_value clients_watch_js(napi_env env, napi_callback_info info) {
  return change_js(env, info, "clientsWatch", EPOLL_CTL_ADD, CLIENT_EVENTS | EPOLLET);
}

/* clientsRelease(clients, fd): it isn't watched any more, and stays open. */
static napi_value clients_release_js(napi_env env, napi_callback_info info) {
  return change_js(env, info, "clientsRelease", EPOLL_CTL_DEL, 0);
}

/* clientsAwaitRoom(clients, fd, waits): whether it is told when a client takes more. */
static napi_value clients_await_room_js(napi_env env, napi_callback_info info) {
  size_t argc = 3;
  napi_value argv[3];
  int32_t fd;
  bool waits;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 3 ||
      napi_get_value_int32(env, argv[1], &fd) != napi_ok ||
      napi_get_value_bool(env, argv[2], &waits) != napi_ok) {
    napi_throw_type_error(env, NULL, "clientsAwaitRoom(clients, fd, waits)");
    return NULL;
  }
  const struct addon_clients *clients = clients_argument(env, argv[0]);
  if (clients == NULL) return NULL;
  const uint32_t events = CLIENT_EVENTS | EPOLLET | (waits ? (uint32_t)EPOLLOUT : 0);
  const int error = watch(clients, EPOLL_CTL_MOD, fd, events);
  return error == 0 ? NULL : addon_throw_errno(env, "clientsAwaitRoom", error);
}

static napi_value clients_close_js(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1];
  void *data = NULL;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) == napi_ok && argc >= 1 &&
      napi_get_value_external(env, argv[0], &data) == napi_ok)
    clients_close(data);
  else
    napi_throw_type_error(env, NULL, "the argument must be what clientsOpen returned");
  return NULL;
}

/*
 * socketPeek(fd): 1: octets wait; 0: it has ended, and all has been read; negative: an errno,
 * EAGAIN if nothing waits. After an end recv(2) tells no error any more.
 */
static napi_value socket_peek_js(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1], result;
  int32_t fd;
  uint8_t octet;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok) {
    napi_throw_type_error(env, NULL, "socketPeek(fd)");
    return NULL;
  }
  const ssize_t length = recv(fd, &octet, sizeof octet, MSG_PEEK | MSG_DONTWAIT);
  int error = length < 0 ? errno : 0;
  socklen_t size = sizeof error;
  if (length == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
  const int32_t answer = error != 0 ? -error : (int32_t)length;
  return napi_create_int32(env, answer, &result) == napi_ok ? result : NULL;
}

/* socketClose(fd, resets): with `resets` the peer of a TCP socket gets an RST. */
static napi_value socket_close_js(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2];
  int32_t fd;
  bool resets;
  const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok || fd < 0 ||
      napi_get_value_bool(env, argv[1], &resets) != napi_ok) {
    napi_throw_type_error(env, NULL, "socketClose(fd, resets)");
    return NULL;
  }
  if (resets) (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(fd);
  return NULL;
}

const struct addon_function addon_clients_functions[] = {
    {"clientsOpen", clients_open_js},
    {"clientsListen", clients_listen_js},
    {"clientsAccept", clients_accept_js},
    {"clientsWatch", clients_watch_js},
    {"clientsAwaitRoom", clients_await_room_js},
    {"clientsRelease", clients_release_js},
    {"clientsClose", clients_close_js},
    {"socketPeek", socket_peek_js},
    {"socketClose", socket_close_js},
    {NULL, NULL},
};
