/*
 * addon_transfer.c - reads and writes that take only what is there (src/native/addon.ts), for
 * descriptors that are not ours alone.
 *
 * O_NONBLOCK is a flag of the open file, which other programs share. So a flag of the one call is
 * used: MSG_DONTWAIT for sockets, RWF_NOWAIT for everything else (preadv2(2); pipes know it since
 * Linux 6.4, files give what is in the page cache). A kernel or a file that can't do it is like one
 * where nothing waits: the caller then takes a way that may wait.
 *
 * A socket tells its error once (SO_ERROR, socket(7)): after a reset the next read sees an orderly
 * end. So that error is thrown. What is no socket fails again in the other way, and there this way
 * alone may be forbidden, by a filter of system calls that doesn't know it.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "addon.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

enum { MAX_PARTS = 32 };

/* The system call itself: musl has no function for it before 1.2.5. -1: at the file's position. */
static ssize_t transfer(long call, int fd, struct iovec *parts, size_t count) {
  return (ssize_t)syscall(call, fd, parts, count, -1L, -1L, RWF_NOWAIT);
}

static ssize_t or_again(ssize_t octets) {
  if (octets < 0) errno = EAGAIN;
  return octets;
}

static ssize_t read_waiting(int fd, uint8_t *into, size_t length) {
  struct iovec part = {.iov_base = into, .iov_len = length};
  const ssize_t received = recv(fd, into, length, MSG_DONTWAIT);

  if (received >= 0 || errno != ENOTSOCK) return received;
  return or_again(transfer(SYS_preadv2, fd, &part, 1));
}

static ssize_t write_fitting(int fd, struct iovec *parts, size_t count) {
  const struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
  const ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

  if (sent >= 0 || errno != ENOTSOCK) return sent;
  return or_again(transfer(SYS_pwritev2, fd, parts, count));
}

/* Whether a call that may wait can do what this one couldn't. */
static bool may_succeed_waiting(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == EOPNOTSUPP ||
         error == EINVAL;
}

/* Right after the call: its error is in errno. */
static napi_value octets_or_nothing(napi_env env, const char *call, ssize_t octets) {
  const int error = errno;
  napi_value result;

  if (octets < 0 && !may_succeed_waiting(error)) return addon_throw_errno(env, call, error);
  return napi_create_int32(env, octets < 0 ? -1 : (int32_t)octets, &result) == napi_ok ? result
                                                                                       : NULL;
}

static napi_value read_waiting_js(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  size_t argc = 2, length;
  uint8_t *into;
  int32_t fd;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok ||
      !addon_octets(env, argv[1], &into, &length)) {
    napi_throw_type_error(env, NULL, "readWaiting(a descriptor, octets)");
    return NULL;
  }
  return octets_or_nothing(env, "read", read_waiting(fd, into, length));
}

static napi_value write_fitting_js(napi_env env, napi_callback_info info) {
  napi_value argv[1 + MAX_PARTS];
  size_t argc = 1 + MAX_PARTS;
  struct iovec parts[MAX_PARTS];
  int32_t fd;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      argc > 1 + MAX_PARTS || napi_get_value_int32(env, argv[0], &fd) != napi_ok) {
    napi_throw_type_error(env, NULL, "writeFitting(a descriptor, up to 32 times octets)");
    return NULL;
  }
  for (size_t i = 1; i < argc; i++) {
    uint8_t *data;
    if (!addon_octets(env, argv[i], &data, &parts[i - 1].iov_len)) {
      napi_throw_type_error(env, NULL, "writeFitting(): octets are needed");
      return NULL;
    }
    parts[i - 1].iov_base = data;
  }
  return octets_or_nothing(env, "write", write_fitting(fd, parts, argc - 1));
}

const struct addon_function addon_transfer_functions[] = {
    {"readWaiting", read_waiting_js},
    {"writeFitting", write_fitting_js},
    {NULL, NULL},
};
