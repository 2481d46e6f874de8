/*
 * addon_service.c - what a service needs (src/native/addon.ts): it leaves its terminal, locks its
 * pidfile and the files that it writes, and speaks to systemd and to the system log by datagrams.
 * Node knows none of these.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "addon.h"

/*
 * All threads are of one process, so setsid(2) concerns them all. It fails with EPERM for the
 * leader of a process group, which is nothing that fork(2) could mend here: a copy of this process
 * would have one thread only.
 */
static napi_value detach_js(napi_env env, napi_callback_info info) {
  (void)info;
  if (setsid() < 0) return addon_throw_errno(env, "setsid", errno);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return addon_throw_errno(env, "/dev/null", errno);
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (dup2(null, fd) < 0) return addon_throw_errno(env, "dup2", errno);
  if (null > STDERR_FILENO) (void)close(null);
  return NULL;
}

static napi_value lock_file_js(napi_env env, napi_callback_info info) {
  napi_value argv[1], result;
  size_t argc = 1;
  int32_t fd;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok) {
    napi_throw_type_error(env, NULL, "lockFile(a descriptor)");
    return NULL;
  }
  const bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
  if (!locked && errno != EWOULDBLOCK) return addon_throw_errno(env, "flock", errno);
  return napi_get_boolean(env, locked, &result) == napi_ok ? result : NULL;
}

/*
 * An open file description lock (fcntl(2)): it needs write access, so who may only read the file
 * can't keep anybody from writing it. A reader may lock it for reading, which is no other writer.
 */
static napi_value claim_file_js(napi_env env, napi_callback_info info) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  napi_value argv[1], result;
  size_t argc = 1;
  int32_t fd;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok) {
    napi_throw_type_error(env, NULL, "claimFile(a descriptor)");
    return NULL;
  }
  bool claimed = fcntl(fd, F_OFD_SETLK, &lock) == 0;
  /* A file system may have no locks: then nobody is known to write. */
  if (!claimed && (errno == EAGAIN || errno == EACCES))
    claimed = fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type != F_WRLCK;
  else
    claimed = true;
  return napi_get_boolean(env, claimed, &result) == napi_ok ? result : NULL;
}

/*
 * One socket for all datagrams of the process, made at the first one. It isn't connected: each
 * datagram finds whoever listens at the path now.
 */
static int datagram_socket(void) {
  static int fd = -1;
  if (fd < 0) fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  return fd;
}

static napi_value send_datagram_js(napi_env env, napi_callback_info info) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  napi_value argv[2], result;
  size_t argc = 2, length, path_length;
  uint8_t *data, *path;
  int error = 0;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      !addon_octets(env, argv[0], &path, &path_length) || path_length == 0 ||
      !addon_octets(env, argv[1], &data, &length)) {
    napi_throw_type_error(env, NULL, "sendDatagram(a path, octets)");
    return NULL;
  }
  /* A path ends in 0; an abstract name begins with it, and its length is the address's. */
  const bool is_abstract = path[0] == 0;
  if (path_length + !is_abstract > sizeof to.sun_path)
    return addon_throw_errno(env, "sendDatagram", ENAMETOOLONG);
  memcpy(to.sun_path, path, path_length);
  const socklen_t size =
      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_length + !is_abstract);
  const int fd = datagram_socket();
  if (fd < 0 || sendto(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL,
                       (const struct sockaddr *)&to, size) < 0)
    error = errno;
  return napi_create_int32(env, error, &result) == napi_ok ? result : NULL;
}

const struct addon_function addon_service_functions[] = {
    {"detach", detach_js},
    {"lockFile", lock_file_js},
    {"claimFile", claim_file_js},
    {"sendDatagram", send_datagram_js},
    {NULL, NULL},
};
