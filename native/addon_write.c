/*
 * addon_write.c - a write that never waits, whatever the descriptor is (src/native/addon.ts).
 *
 * O_NONBLOCK is a flag of the open file, which the shell and other programs at the terminal share:
 * left on, it would break them. So if the caller doesn't have its own open file, the flag is set
 * for this one call only. For a socket, send(2) has a flag instead.
 *
 * When a background job writes to a terminal with `stty tostop`, SIGTTOU stops the whole job, or
 * the write fails with EIO if nobody could continue the job. While the signal is blocked, the
 * kernel allows the write (tty_ioctl(4), drivers/tty/tty_jobctrl.c: tty_check_change).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "addon.h"

static ssize_t write_briefly(int fd, const uint8_t *data, size_t length) {
  const int flags = fcntl(fd, F_GETFL);
  struct stat status;

  if (flags < 0 || fstat(fd, &status) < 0) return -1;
  if (S_ISSOCK(status.st_mode)) return send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
  const int waits = (flags & O_NONBLOCK) == 0 && !S_ISREG(status.st_mode);
  if (waits && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return -1;
  const ssize_t written = write(fd, data, length);
  const int error = errno;
  if (waits) (void)fcntl(fd, F_SETFL, flags);
  errno = error;
  return written;
}

static napi_value write_now_js(napi_env env, napi_callback_info info) {
  napi_value argv[2], result;
  size_t argc = 2, length;
  uint8_t *data;
  int32_t fd;
  sigset_t ttou, before;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok ||
      !addon_octets(env, argv[1], &data, &length)) {
    napi_throw_type_error(env, NULL, "writeNow(a descriptor, octets)");
    return NULL;
  }
  sigemptyset(&ttou);
  sigaddset(&ttou, SIGTTOU);
  (void)pthread_sigmask(SIG_BLOCK, &ttou, &before);
  const ssize_t written = write_briefly(fd, data, length);
  const int error = errno;
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (written < 0 && error != EAGAIN && error != EINTR)
    return addon_throw_errno(env, "write", error);
  return napi_create_int32(env, written < 0 ? 0 : (int32_t)written, &result) == napi_ok ? result
                                                                                        : NULL;
}

const struct addon_function addon_write_functions[] = {
    {"writeNow", write_now_js},
    {NULL, NULL},
};
