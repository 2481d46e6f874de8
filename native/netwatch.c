#include "netwatch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "netlink.h"

struct netwatch {
  netwatch_callback callback;
  void *context;
  uint32_t ignored_ifindex;
  int wakeup; /* eventfd: readable once the thread must end */
  bool changed;
  pthread_t thread;
  struct netlink notices;
};

static void consider(void *context, const struct netlink_notice *notice) {
  struct netwatch *watch = context;
  /* Its route is reported as well. Router advertisements renew addresses all the time. */
  if (notice->kind == NETLINK_ADDRESS_NEW) return;
  if (notice->ifindex == 0 || notice->ifindex != watch->ignored_ifindex) watch->changed = true;
}

/* Reads all notifications that wait. Returns 0 or an errno. */
static int drain(struct netwatch *watch) {
  for (;;) {
    int result = netlink_watch_read(&watch->notices, consider, watch);
    if (result == 0) return 0;
    if (result == -ENOBUFS || result == -EMSGSIZE) /* some were lost */
      watch->changed = true;
    else if (result < 0)
      return -result;
  }
}

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits up to `timeout` ms (-1: for ever) for notifications. False: the thread must end. */
static bool wait_notices(const struct netwatch *watch, int timeout, bool *ready) {
  struct pollfd fds[] = {{.fd = watch->notices.fd, .events = POLLIN},
                         {.fd = watch->wakeup, .events = POLLIN}};
  while (poll(fds, 2, timeout) < 0)
    if (errno != EINTR) return false;
  *ready = fds[0].revents != 0;
  return fds[1].revents == 0;
}

static void *netwatch_thread(void *argument) {
  struct netwatch *watch = argument;
  int64_t first = 0; /* when the first unreported change came */
  bool ready;

  for (;;) {
    const bool settling = watch->changed;
    int64_t left = settling ? first + NETWATCH_SETTLE_MS - now_ms() : 0;
    if (left > NETWATCH_QUIET_MS) left = NETWATCH_QUIET_MS;
    if (!wait_notices(watch, !settling ? -1 : left > 0 ? (int)left : 0, &ready)) return NULL;
    const int error = ready ? drain(watch) : 0;
    if (error != 0) {
      watch->callback(watch->context, error);
      return NULL;
    }
    if (!settling) {
      first = now_ms();
    } else if (!ready || now_ms() - first >= NETWATCH_SETTLE_MS) {
      watch->changed = false;
      watch->callback(watch->context, 0);
    }
  }
}

/* All signals go to the program's main thread. */
static int thread_start(struct netwatch *watch) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int result = pthread_create(&watch->thread, NULL, netwatch_thread, watch);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return result;
}

static void netwatch_free(struct netwatch *watch) {
  netlink_close(&watch->notices);
  if (watch->wakeup >= 0) close(watch->wakeup);
  free(watch);
}

struct netwatch *netwatch_start(uint32_t ignored_ifindex, netwatch_callback callback, void *context,
                                int *error) {
  struct netwatch *watch = calloc(1, sizeof *watch);
  if (watch == NULL) {
    *error = ENOMEM;
    return NULL;
  }
  watch->callback = callback;
  watch->context = context;
  watch->ignored_ifindex = ignored_ifindex;
  watch->notices.fd = -1;
  watch->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

  *error = watch->wakeup < 0 ? errno : -netlink_watch_open(&watch->notices);
  if (*error == 0) *error = thread_start(watch);
  if (*error == 0) return watch;
  netwatch_free(watch);
  return NULL;
}

void netwatch_stop(struct netwatch *watch) {
  const uint64_t one = 1;
  /* Can't fail: the counter of an eventfd can take a first event. */
  while (write(watch->wakeup, &one, sizeof one) < 0 && errno == EINTR) continue;
  pthread_join(watch->thread, NULL);
  netwatch_free(watch);
}
