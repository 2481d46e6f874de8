/* device.c - reading and writing frames; see device.h. */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

/*
 * The calling thread no longer preempts another one when it wakes up (sched(7), SCHED_BATCH). If
 * all processors are busy, a packet then waits for the next few, and they are carried together. A
 * policy that somebody else has chosen stays.
 */
static void prefer_batches(void) {
  const struct sched_param none = {.sched_priority = 0};
  if (sched_getscheduler(0) == SCHED_OTHER)
    (void)sched_setscheduler(0, SCHED_BATCH, &none); /* if refused, nothing changes */
}

int device_prepare(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return -errno;
  prefer_batches();
  return 0;
}

ssize_t device_read(int fd, uint8_t *into, size_t capacity) {
  ssize_t length;
  do length = read(fd, into, capacity);
  while (length < 0 && errno == EINTR);
  if (length < 0) return errno == EAGAIN ? 0 : -errno;
  return length == 0 ? -EIO : length;
}

int device_write(int fd, const struct iovec *parts, int count) {
  ssize_t written;
  do written = writev(fd, parts, count);
  while (written < 0 && errno == EINTR);
  return written < 0 ? -errno : 0;
}
