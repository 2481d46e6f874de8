/*
 * tunnel-helper - the only part of the program that runs as root.
 *
 *   tunnel-helper SOCKET_PATH      started by the program, directly if that runs as root, else
 *                                  through sudo or doas; works for who started these: the caller
 *   tunnel-helper --socket-unit    started by systemd with a connection (packaging/systemd); works
 *                                  for who has connected
 *   tunnel-helper --clean          removes the devices that killed helpers have left behind
 *                                  (mark.h), and prints the name of each
 *
 * It makes the TUN device and the routes, passes the device's descriptor to the program, and waits
 * until the program ends (protocol.h has the messages).
 *
 *   start    sets the umask, closes inherited descriptors, finds the caller, clears the environment
 *   connect  with the caller's rights; checks that the socket is the caller's, in a directory of
 *            the caller's that is closed to others, and that the process that listens there is the
 *            caller's. So nobody can use somebody else's rights to have root make a device.
 *   fork     the parent exits when the child has left the terminal, so that sudo ends and returns
 *            the terminal. Up to here failures are one line on stderr and HELPER_EXIT_*, later they
 *            are FAILED messages. A helper of systemd's doesn't fork.
 *   prepare  reads who may capture what (permit.h), removes what killed helpers have left
 *   drop     opens /dev/net/tun, then keeps only CAP_NET_ADMIN, and few system calls. It stays
 *            root's: a process of the caller's uid could be killed by the caller, who could make
 *            the device outlive it and go on capturing with nobody to watch
 *   serve    session.c, until the socket closes, somebody removes the device, or SIGTERM; then
 *            deletes the device, whatever the caller has made of it
 *
 * It runs no other program and writes no files. If it is killed, which only root can do, the device
 * goes with the program, which has its only descriptor; a device that a program keeps all the same
 * is removed by the next helper. Routes and addresses go away with the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connect.h"
#include "fd.h"
#include "limits.h"
#include "privileges.h"
#include "session.h"
#include "tun.h"

#define FIRST_INHERITED_FD 3

/* One line on stderr, and the status to exit with. */
static int fail(const char *what, const char *why) {
  fprintf(stderr, "tunnel-helper: %s: %s\n", what, why);
  return HELPER_EXIT_SETUP;
}

/* Makes sure that descriptors 0-2 are open, so that no socket becomes one of them by accident. */
static bool stdio_complete(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) return false;
  return true;
}

/* Leaves the caller's session and its terminal. */
static bool session_leave(void) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  /* EPERM: it leads a session already, that of systemd's service, which has no terminal. */
  if (null < 0 || (setsid() < 0 && errno != EPERM) || chdir("/") < 0) return false;
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (dup2(null, fd) < 0) return false;
  close(null);
  return true;
}

/* Returns a descriptor from which SIGTERM and SIGINT are read, or a negative errno. */
static int signals_open(void) {
  sigset_t ending, all;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  sigfillset(&all);
  if (sigprocmask(SIG_SETMASK, &all, NULL) < 0) return -errno;
  int fd = signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK);
  return fd < 0 ? -errno : fd;
}

/*
 * Makes everything that needs more than CAP_NET_ADMIN, and gives up the rest. False, with the
 * failure, if that is not possible.
 */
static bool prepare(struct session *session, const struct client *client,
                    struct failure *failure) {
  const char *what;

  /* Root needn't be protected from itself; a unit's process belongs to systemd. */
  int result = client->uid == 0 || client->passed ? 0 : privileges_detach(&what);
  if (result < 0) return failure_set(failure, HELPER_STEP_PRIVILEGES, result, "%s", what);
  limits_open();
  if (client->has_longer_name) limits_reached(LIMIT_NAME);
  if (client->has_more_groups) limits_reached(LIMIT_GROUPS);
  if (!permit_read(&session->permit, client, failure)) return false;
  what = "resolvers";
  /* Before there is anything that the child must not keep open. */
  if (!session->permit.unlimited) result = resolvers_start(&session->permit.resolvers);
  /* Still with all capabilities: in small containers only such a root may open the device node. */
  session->tun = tun_open();
  if (result == 0) {
    what = "rtnetlink";
    result = netlink_open(&session->netlink);
  }
  if (result == 0) result = watch_open(&session->watch);
  if (result == 0) {
    what = "CAP_NET_ADMIN";
    result = mark_sweep(&session->netlink, session->removed, sizeof session->removed);
  }
  if (result >= 0) {
    what = "mark";
    result = mark_open(&session->mark);
  }
  if (result == 0) {
    what = "signals";
    session->signals = signals_open();
    result = session->signals < 0 ? session->signals : privileges_drop(&what);
  }
  if (result == 0) {
    what = "seccomp";
    result = privileges_filter();
  }
  return result == 0 || failure_set(failure, HELPER_STEP_PRIVILEGES, result, "%s", what);
}

static int serve(int socket, const struct client *client) {
  static struct session session;
  struct failure failure;

  session.socket = socket;
  if (prepare(&session, client, &failure))
    session_run(&session);
  else
    (void)session_refuse(socket, &failure);
  _exit(EXIT_SUCCESS);
}

/* Serves in a child; ends when the child no longer needs the terminal. */
static int serve_detached(int socket, const struct client *client) {
  int ready[2];
  char byte = 0;

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
  return serve(socket, client);
}

static int serve_passed(void) {
  static struct client client;
  uid_t uid;

  const int socket = connect_take_passed(&uid);
  fd_close_from(FIRST_INHERITED_FD + 1);
  clearenv();
  if (socket < 0) return HELPER_EXIT_SETUP;
  client_find(&client, uid);
  client.passed = true;
  if (!session_leave()) return fail("start", strerror(errno));
  return serve(socket, &client);
}

static int clean(void) {
  static struct netlink netlink;
  char removed[sizeof((struct helper_hello *)0)->removed];

  clearenv();
  int result = netlink_open(&netlink);
  /* One call may leave some. */
  while (result == 0 && (result = mark_sweep(&netlink, removed, sizeof removed)) > 0) {
    for (char *rest, *name = strtok_r(removed, " ", &rest); name != NULL;
         name = strtok_r(NULL, " ", &rest))
      puts(name);
    result = 0;
  }
  return result < 0 ? fail("clean", strerror(-result)) : EXIT_SUCCESS;
}

int main(int argc, char **argv) {
  static struct client client;
  uid_t caller;

  umask(077);
  const bool passed = argc == 2 && strcmp(argv[1], "--socket-unit") == 0;
  if (!passed) fd_close_from(FIRST_INHERITED_FD);
  if (!stdio_complete()) return HELPER_EXIT_SETUP;
  if (argc != 2) return fail("usage", "tunnel-helper SOCKET_PATH | --socket-unit | --clean");
  if (geteuid() != 0) {
    fail("not root", "it is started by tunnel, through sudo or doas");
    return HELPER_EXIT_NOT_ROOT;
  }
  signal(SIGCHLD, SIG_IGN);
  if (passed) return serve_passed();
  if (strcmp(argv[1], "--clean") == 0) return clean();
  if (!privileges_caller(&caller)) return HELPER_EXIT_SETUP;
  client_find(&client, caller);
  const int socket = connect_to_program(argv[1], &client);
  return socket < 0 ? HELPER_EXIT_SETUP : serve_detached(socket, &client);
}
