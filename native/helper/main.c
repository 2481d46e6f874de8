/*
 * tunnel-helper SOCKET_PATH - the only part of the program that runs as root.
 *
 * It makes the TUN device and the routes, passes the device's descriptor to the program, and waits
 * until the program ends (protocol.h has the messages). It is started directly if the program runs
 * as root, else through sudo or doas. It works for the user who started these: the caller.
 *
 *   start    sets the umask, closes inherited descriptors, finds the caller, clears the environment
 *   connect  checks that the socket is the caller's, in a directory of the caller's that is closed
 *            to others, and that the process that listens there is the caller's. So nobody can use
 *            somebody else's rights to have root make a device.
 *   fork     the parent exits when the child has left the terminal, so that sudo ends and returns
 *            the terminal. Up to here failures are one line on stderr and HELPER_EXIT_*, later they
 *            are FAILED messages.
 *   drop     opens /dev/net/tun, then keeps only CAP_NET_ADMIN, with the caller's uid
 *   serve    session.c, until the socket closes, somebody removes the device, or SIGTERM; then
 *            deletes the device
 *
 * It runs no other program, reads and writes no files, and has no timers. Whatever is killed,
 * nothing is left: the device isn't persistent and only the program has its descriptor; routes and
 * addresses go away with the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "fd.h"
#include "privileges.h"
#include "session.h"
#include "tun.h"

#define FIRST_INHERITED_FD 3

/* One line on stderr, and the status to exit with. */
static int fail(const char *what, const char *why) {
  fprintf(stderr, "tunnel-helper: %s: %s\n", what, why);
  return HELPER_EXIT_SETUP;
}

static void close_inherited(void) {
  if (syscall(SYS_close_range, FIRST_INHERITED_FD, UINT_MAX, 0) == 0) return;
  /* Before Linux 5.9 */
  long limit = sysconf(_SC_OPEN_MAX);
  for (int fd = FIRST_INHERITED_FD; fd < limit; fd++) close(fd);
}

/* Makes sure that descriptors 0-2 are open, so that no socket becomes one of them by accident. */
static bool stdio_complete(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) return false;
  return true;
}

/*
 * Connects to the program. The directory is opened once and everything is looked up in it, so that
 * the socket that was checked is the one it connects to. At the end the kernel says who listens
 * there. Returns the socket, or -1 after a message.
 */
static int program_connect(const char *path, uid_t caller, struct ucred *program) {
  char directory_path[PATH_MAX], name_path[PATH_MAX];
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct stat directory, socket_status;

  if (path[0] != '/' || strlen(path) >= sizeof directory_path)
    return fail(path, "not an absolute path"), -1;
  strcpy(directory_path, path);
  strcpy(name_path, path);
  const char *name = basename(name_path);
  if (strlen(name) >= sizeof address.sun_path) return fail(path, "name too long"), -1;
  strcpy(address.sun_path, name);

  int fd = open(dirname(directory_path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &directory) < 0 || fchdir(fd) < 0) return fail(path, strerror(errno)), -1;
  close(fd);
  if (directory.st_uid != caller) return fail(path, "the directory isn't the caller's"), -1;
  if ((directory.st_mode & 07777) != 0700) return fail(path, "the directory's mode isn't 0700"), -1;
  if (lstat(name, &socket_status) < 0) return fail(path, strerror(errno)), -1;
  if (!S_ISSOCK(socket_status.st_mode)) return fail(path, "not a socket"), -1;
  if (socket_status.st_uid != caller) return fail(path, "the socket isn't the caller's"), -1;

  fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
    return fail(path, strerror(errno)), -1;
  int result = fd_peer(fd, program);
  if (result < 0) return fail(path, strerror(-result)), -1;
  if (program->uid != caller)
    return fail(path, "the process that listens there isn't the caller's"), -1;
  return fd;
}

/* Leaves the caller's session and its terminal. */
static bool session_leave(void) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0 || setsid() < 0 || chdir("/") < 0) return false;
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (dup2(null, fd) < 0) return false;
  close(null);
  return true;
}

/* Returns a descriptor from which SIGTERM and SIGINT are read, or a negative errno. */
static int signals_open(void) {
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  if (sigprocmask(SIG_SETMASK, &ending, NULL) < 0) return -errno;
  int fd = signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK);
  return fd < 0 ? -errno : fd;
}

/*
 * What the child does. `program` has the credentials of the process at the other end of `socket`.
 */
static void serve(int socket, const struct ucred *program) {
  static struct session session;
  struct failure failure;
  const char *what = "rtnetlink";

  session.socket = socket;
  /* Still as root: in small containers only root may open the device node. */
  session.tun = tun_open();
  int result = netlink_open(&session.netlink);
  if (result == 0) result = watch_open(&session.watch);
  if (result == 0) {
    session.signals = signals_open();
    what = "signals";
    result =
        session.signals < 0 ? session.signals : privileges_drop(program->uid, program->gid, &what);
  }
  if (result < 0) {
    failure_set(&failure, HELPER_STEP_PRIVILEGES, result, "%s", what);
    session_refuse(socket, &failure);
    return;
  }
  session_run(&session);
}

int main(int argc, char **argv) {
  struct ucred program;
  uid_t caller;
  int ready[2];
  char byte = 0;

  umask(077);
  close_inherited();
  if (!stdio_complete()) return HELPER_EXIT_SETUP;
  if (argc != 2) return fail("usage", "tunnel-helper SOCKET_PATH");
  if (geteuid() != 0) {
    fail("not root", "it is started by tunnel, through sudo or doas");
    return HELPER_EXIT_NOT_ROOT;
  }
  if (!privileges_caller(&caller)) return HELPER_EXIT_SETUP;
  int socket = program_connect(argv[1], caller, &program);
  if (socket < 0) return HELPER_EXIT_SETUP;

  /*
   * If sudo runs this in its own terminal (use_pty), that terminal hangs up as soon as the parent
   * exits.
   */
  signal(SIGHUP, SIG_IGN);
  if (pipe2(ready, O_CLOEXEC) < 0) return fail("pipe", strerror(errno));
  pid_t child = fork();
  if (child < 0) return fail("fork", strerror(errno));
  if (child > 0) {
    close(ready[1]);
    ssize_t got;
    do got = read(ready[0], &byte, 1);
    while (got < 0 && errno == EINTR);
    return got == 1 ? EXIT_SUCCESS : fail("start", "the child process couldn't leave the terminal");
  }

  close(ready[0]);
  if (!session_leave() || write(ready[1], &byte, 1) != 1) return HELPER_EXIT_SETUP;
  close(ready[1]);
  serve(socket, &program);
  return EXIT_SUCCESS;
}
