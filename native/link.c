#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fd.h"

/* Others may connect before the right one. */
#define LINK_BACKLOG 4
/*
 * Takes the longest request at once (helper/protocol.h, ROUTES: 160 KiB). The kernel may grant
 * less.
 */
#define LINK_SEND_BUFFER (512 * 1024)

struct helper_link {
  helper_link_callback callback;
  void *context;
  int listener; /* used only by the thread; -1 once the helper has connected */
  int wakeup;   /* eventfd: readable once the thread must end */
  pthread_t thread;
  pthread_mutex_t mutex; /* guards peer */
  int peer;              /* -1: none yet. Only helper_link_close() closes it, after the thread */
};

/* Waits until `fd` or the wake-up is readable. False: the thread must end. */
static bool wait_readable(const struct helper_link *link, int fd) {
  struct pollfd ready[] = {{.fd = fd, .events = POLLIN}, {.fd = link->wakeup, .events = POLLIN}};
  while (poll(ready, 2, -1) < 0)
    if (errno != EINTR) return false;
  return ready[1].revents == 0;
}

/*
 * Accepts the next peer. Returns its socket, -EAGAIN if it doesn't run as root, or another negative
 * errno.
 */
static int accept_root(struct helper_link *link) {
  const int size = LINK_SEND_BUFFER;
  struct ucred credentials;

  int peer = accept4(link->listener, NULL, NULL, SOCK_CLOEXEC);
  if (peer < 0) return errno == EINTR || errno == ECONNABORTED ? -EAGAIN : -errno;
  if (fd_peer(peer, &credentials) < 0 || credentials.uid != 0) {
    close(peer);
    return -EAGAIN;
  }
  (void)setsockopt(peer, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  return peer;
}

/*
 * Waits for the helper. Returns its socket, -EAGAIN if the thread must end, or another negative
 * errno.
 */
static int accept_first(struct helper_link *link) {
  int peer = -EAGAIN;

  while (peer == -EAGAIN && wait_readable(link, link->listener)) peer = accept_root(link);
  if (peer < 0) return peer;
  /* The kernel refuses later connections. */
  close(link->listener);
  link->listener = -1;
  pthread_mutex_lock(&link->mutex);
  link->peer = peer;
  pthread_mutex_unlock(&link->mutex);
  return peer;
}

/* Reads messages until the end. False: the thread must end without a callback. */
static bool read_messages(struct helper_link *link, int peer, int *error) {
  uint8_t message[LINK_MESSAGE_CAPACITY];

  while (wait_readable(link, peer)) {
    int fd;
    ssize_t length = fd_receive(peer, message, sizeof message, &fd);
    if (length <= 0) {
      /* If the peer was killed before it read a request, that is a normal close too. */
      *error = length == -ECONNRESET ? 0 : (int)-length;
      return true;
    }
    link->callback(link->context, message, (size_t)length, fd, 0);
  }
  return false;
}

static void *link_thread(void *argument) {
  struct helper_link *link = argument;
  int error = 0, peer = link->listener < 0 ? link->peer : accept_first(link);

  if (peer == -EAGAIN) return NULL;
  if (peer < 0)
    error = -peer;
  else if (!read_messages(link, peer, &error))
    return NULL;
  link->callback(link->context, NULL, 0, -1, error);
  return NULL;
}

/* All signals go to the program's main thread. */
static int thread_start(struct helper_link *link) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int result = pthread_create(&link->thread, NULL, link_thread, link);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return result;
}

static int link_open_listener(struct helper_link *link, const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};

  if (strlen(path) >= sizeof address.sun_path) return ENAMETOOLONG;
  strcpy(address.sun_path, path);
  link->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (link->listener < 0) return errno;
  if (bind(link->listener, (struct sockaddr *)&address, sizeof address) < 0) return errno;
  return listen(link->listener, LINK_BACKLOG) < 0 ? errno : 0;
}

static void link_free(struct helper_link *link) {
  if (link->peer >= 0) close(link->peer);
  if (link->listener >= 0) close(link->listener);
  if (link->wakeup >= 0) close(link->wakeup);
  pthread_mutex_destroy(&link->mutex);
  free(link);
}

static struct helper_link *link_new(helper_link_callback callback, void *context, int *error) {
  struct helper_link *link = malloc(sizeof *link);
  if (link == NULL) {
    *error = ENOMEM;
    return NULL;
  }
  *link = (struct helper_link){
      .callback = callback, .context = context, .listener = -1, .wakeup = -1, .peer = -1};
  pthread_mutex_init(&link->mutex, NULL);
  link->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (link->wakeup >= 0) return link;
  *error = errno;
  link_free(link);
  return NULL;
}

struct helper_link *helper_link_listen(const char *path, helper_link_callback callback,
                                       void *context, int *error) {
  struct helper_link *link = link_new(callback, context, error);
  if (link == NULL) return NULL;
  *error = link_open_listener(link, path);
  if (*error == 0) *error = thread_start(link);
  if (*error == 0) return link;
  link_free(link);
  return NULL;
}

static int link_open_connection(struct helper_link *link, const char *path) {
  const int size = LINK_SEND_BUFFER;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct ucred credentials;

  if (strlen(path) >= sizeof address.sun_path) return ENAMETOOLONG;
  strcpy(address.sun_path, path);
  /* It doesn't wait in connect(2) for one who doesn't accept. */
  link->peer = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (link->peer < 0) return errno;
  if (connect(link->peer, (struct sockaddr *)&address, sizeof address) < 0) return errno;
  const int result = fd_peer(link->peer, &credentials);
  if (result < 0) return -result;
  if (credentials.uid != 0) return EPERM;
  const int flags = fcntl(link->peer, F_GETFL);
  if (flags < 0 || fcntl(link->peer, F_SETFL, flags & ~O_NONBLOCK) < 0) return errno;
  (void)setsockopt(link->peer, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  return 0;
}

struct helper_link *helper_link_connect(const char *path, helper_link_callback callback,
                                        void *context, int *error) {
  struct helper_link *link = link_new(callback, context, error);
  if (link == NULL) return NULL;
  *error = link_open_connection(link, path);
  if (*error == 0) *error = thread_start(link);
  if (*error == 0) return link;
  link_free(link);
  return NULL;
}

struct helper_link *helper_link_pair(int *other, helper_link_callback callback, void *context,
                                     int *error) {
  int ends[2];
  struct helper_link *link = link_new(callback, context, error);
  if (link == NULL) return NULL;
  *error = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0 ? errno : 0;
  if (*error == 0) {
    link->peer = ends[0];
    *error = thread_start(link);
    if (*error == 0) {
      *other = ends[1];
      return link;
    }
    close(ends[1]);
  }
  link_free(link);
  return NULL;
}

/* Returns 0 or an errno. */
static int link_check_adopted(int fd) {
  struct ucred credentials;
  int type = 0;
  socklen_t size = sizeof type;

  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0) return errno;
  if (type != SOCK_SEQPACKET) return EPROTOTYPE;
  const int result = fd_peer(fd, &credentials);
  if (result < 0) return -result;
  if (credentials.uid != 0) return EPERM;
  return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? errno : 0;
}

struct helper_link *helper_link_adopt(int socket, helper_link_callback callback, void *context,
                                      int *error) {
  *error = link_check_adopted(socket);
  if (*error != 0) return NULL;
  struct helper_link *link = link_new(callback, context, error);
  if (link == NULL) return NULL;
  link->peer = socket;
  *error = thread_start(link);
  if (*error == 0) return link;
  link->peer = -1;
  link_free(link);
  return NULL;
}

/* The peer's socket, which stays open as long as the link. -1: no peer yet. */
static int link_peer(struct helper_link *link) {
  pthread_mutex_lock(&link->mutex);
  int peer = link->peer;
  pthread_mutex_unlock(&link->mutex);
  return peer;
}

int helper_link_send(struct helper_link *link, const void *message, size_t length) {
  int peer = link_peer(link);
  return peer < 0 ? ENOTCONN : -fd_send(peer, message, length, -1, MSG_DONTWAIT);
}

int helper_link_shutdown(struct helper_link *link) {
  int peer = link_peer(link);
  if (peer < 0) return ENOTCONN;
  return shutdown(peer, SHUT_WR) < 0 ? errno : 0;
}

void helper_link_close(struct helper_link *link) {
  const uint64_t one = 1;
  /* Can't fail: the counter of an eventfd can take a first event. */
  while (write(link->wakeup, &one, sizeof one) < 0 && errno == EINTR) continue;
  pthread_join(link->thread, NULL);
  link_free(link);
}
