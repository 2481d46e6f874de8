#include "connect.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fd.h"

#define FIRST_PASSED_FD 3 /* SD_LISTEN_FDS_START */

static int fail(const char *what, const char *why) {
  fprintf(stderr, "tunnel-helper: %s: %s\n", what, why);
  return -1;
}

static int connect_with_rights(const char *path, uid_t caller) {
  char directory_path[PATH_MAX], name_path[PATH_MAX];
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct stat directory, socket_status;
  struct ucred program;

  if (path[0] != '/' || strlen(path) >= sizeof directory_path)
    return fail(path, "not an absolute path");
  strcpy(directory_path, path);
  strcpy(name_path, path);
  const char *name = basename(name_path);
  if (strlen(name) >= sizeof address.sun_path) return fail(path, "name too long");
  strcpy(address.sun_path, name);

  int fd = open(dirname(directory_path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &directory) < 0 || fchdir(fd) < 0) return fail(path, strerror(errno));
  close(fd);
  if (directory.st_uid != caller) return fail(path, "the directory isn't the caller's");
  if ((directory.st_mode & 07777) != 0700) return fail(path, "the directory's mode isn't 0700");
  if (lstat(name, &socket_status) < 0) return fail(path, strerror(errno));
  if (!S_ISSOCK(socket_status.st_mode)) return fail(path, "not a socket");
  if (socket_status.st_uid != caller) return fail(path, "the socket isn't the caller's");

  fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
    return fail(path, strerror(errno));
  int result = fd_peer(fd, &program);
  if (result < 0) return fail(path, strerror(-result));
  if (program.uid != caller)
    return fail(path, "the process that listens there isn't the caller's");
  return fd;
}

int connect_to_program(const char *path, const struct client *client) {
  int result = client_rights_take(client);
  if (result < 0) return fail("the caller's rights", strerror(-result));
  const int fd = connect_with_rights(path, client->uid);
  result = client_rights_end();
  if (result < 0) return fail("root's rights", strerror(-result));
  return fd;
}

int connect_take_passed(uid_t *uid) {
  const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
  int type, listening;
  socklen_t size = sizeof type;
  struct ucred program;
  char own[16];

  snprintf(own, sizeof own, "%d", (int)getpid());
  if (getenv("SUDO_UID") != NULL || getenv("DOAS_USER") != NULL)
    return fail("--socket-unit", "only systemd can start this");
  if (pid == NULL || strcmp(pid, own) != 0) return fail("LISTEN_PID", "not for this process");
  if (count == NULL || strcmp(count, "1") != 0) return fail("LISTEN_FDS", "not one connection");
  if (fcntl(FIRST_PASSED_FD, F_SETFD, FD_CLOEXEC) < 0) return fail("LISTEN_FDS", strerror(errno));
  if (getsockopt(FIRST_PASSED_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET)
    return fail("LISTEN_FDS", "not a socket of ListenSequentialPacket=");
  size = sizeof listening;
  if (getsockopt(FIRST_PASSED_FD, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 ||
      listening != 0)
    return fail("LISTEN_FDS", "the socket unit needs Accept=yes");
  const int result = fd_peer(FIRST_PASSED_FD, &program);
  if (result < 0) return fail("SO_PEERCRED", strerror(-result));
  *uid = program.uid;
  return FIRST_PASSED_FD;
}
