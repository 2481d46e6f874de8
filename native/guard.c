/*
 * tunnel-guard LOG SOCKET: ends the ssh that started it (LocalCommand of ssh_config(5), with exec)
 * when the tunnel is gone.
 *
 * The kernel ends an ssh together with the tunnel (launch.c), but not one that a custom command has
 * started with another user's rights or as its own child: a set-user-id program (sudo) loses the
 * parent-death signal, and its children never had it. The tunnel may not even be allowed to signal
 * an ssh that runs as root. So ssh runs this program, with its own rights, when it has logged in:
 *
 *   LOG      the FIFO that ssh writes its log to. The tunnel reads it as long as it lives. Without
 *            a reader, poll(2) reports POLLERR at the writing end; if there never was one, open(2)
 *            fails with ENXIO or ENOENT.
 *   parent   ssh, identified by a descriptor (pidfd_open(2)), so that no other process can be taken
 *            for it later.
 *
 *   started -> forks, because ssh waits -> watching -> ssh has ended: exits
 *                                                   -> nobody reads LOG: sends QUIT to ssh, and
 *                                                      KILL after KILL_AFTER_MS; exits
 *
 * SOCKET is where ssh listens for the tunnel's flows. If ssh runs as root, the socket is root's, so
 * its ownership is given to the owner of LOG.
 *
 * Once a second it writes to LOG ssh's process id and how many bytes ssh has read (rchar of
 * /proc/PID/io), if that has grown. Only a process with ssh's own rights can see that, and the
 * tunnel judges by it whether the server still answers.
 *
 * The program reads and writes nothing else. If it can't watch, it sends QUIT to ssh, and exits
 * with 1 and a line on stderr. Without pidfd_open (before Linux 5.3) it can't send the signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KILL_AFTER_MS = 2000, REPORT_MS = 1000 };
/* The watcher's descriptors. */
enum { LOG_FD = 3, SSH_FD = 4, FIRST_OTHER_FD = 5 };

static int fail(const char *what) {
  fprintf(stderr, "tunnel-guard: %s: %s\n", what, strerror(errno));
  return 1;
}

static void ignore(int signal) {
  struct sigaction action = {.sa_handler = SIG_IGN};
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, NULL);
}

static int signal_ssh(int ssh, int signal) {
  return (int)syscall(SYS_pidfd_send_signal, ssh, signal, NULL, 0);
}

/* Ends ssh as well: without a watcher it would be left behind. */
static int give_up(int ssh, const char *what) {
  int status = fail(what);
  signal_ssh(ssh, SIGQUIT);
  return status;
}

/*
 * Gives SOCKET to the owner of LOG. Only a socket of this user with no other name: the owner of LOG
 * may have put something else there.
 */
static int hand_over(const char *path, int log) {
  struct stat owner, status;
  if (fstat(log, &owner) != 0) return -1;
  if (owner.st_uid == geteuid()) return 0;
  int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &status) != 0) return -1;
  if (!S_ISSOCK(status.st_mode) || status.st_uid != geteuid() || status.st_nlink != 1) {
    errno = EPERM;
    return -1;
  }
  int result = fchownat(fd, "", owner.st_uid, (gid_t)-1, AT_EMPTY_PATH);
  close(fd);
  return result;
}

static void end(int ssh) {
  signal_ssh(ssh, SIGQUIT);
  struct pollfd gone = {.fd = ssh, .events = POLLIN};
  if (poll(&gone, 1, KILL_AFTER_MS) == 0) signal_ssh(ssh, SIGKILL);
}

/* What ssh has read so far, or -1. */
static long long bytes_read(pid_t ssh) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%ld/io", (long)ssh);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length < 0) return -1;
  text[length] = '\0';
  const char *count = strstr(text, "rchar: ");
  return count == NULL ? -1 : strtoll(count + strlen("rchar: "), NULL, 10);
}

/* One short line: a FIFO takes it as a whole or, if it is full, not at all. */
static void report(int log, pid_t ssh, long long bytes) {
  char line[64];
  int length =
      snprintf(line, sizeof line, "tunnel-guard: ssh %ld has read %lld\n", (long)ssh, bytes);
  if (write(log, line, (size_t)length) < 0) return; /* the next one says more */
}

static void watch(int log, int ssh, pid_t pid) {
  struct pollfd watched[] = {{.fd = log}, {.fd = ssh, .events = POLLIN}};
  long long reported = -1;
  /* A log without a reader is noticed by poll(2). */
  ignore(SIGPIPE);
  for (;;) {
    if (poll(watched, 2, REPORT_MS) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (watched[1].revents != 0) return;
    if (watched[0].revents != 0) {
      end(ssh);
      return;
    }
    long long bytes = bytes_read(pid);
    if (bytes > reported) report(log, pid, reported = bytes);
  }
}

/* Gives up what it has inherited from ssh: the terminal, stderr, connections. */
static int detach(int *log, int *ssh) {
  if (dup2(*log, LOG_FD) < 0 || dup2(*ssh, SSH_FD) < 0) return -1;
  *log = LOG_FD;
  *ssh = SSH_FD;
  /* Before Linux 5.9 other descriptors stay open, except those that ssh marked with FD_CLOEXEC. */
  (void)syscall(SYS_close_range, FIRST_OTHER_FD, ~0U, 0);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return -1;
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (dup2(null, fd) < 0) return -1;
  if (null > STDERR_FILENO) close(null);
  return setsid() < 0 || chdir("/") != 0 ? -1 : 0;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: tunnel-guard LOG SOCKET\n");
    return 1;
  }
  pid_t parent = getppid();
  int opened = (int)syscall(SYS_pidfd_open, parent, 0);
  if (opened < 0) return fail("pidfd_open");
  if (getppid() != parent) return 0;
  /* Keeps LOG_FD and SSH_FD free. */
  int ssh = fcntl(opened, F_DUPFD_CLOEXEC, FIRST_OTHER_FD);
  int log = open(argv[1], O_WRONLY | O_NONBLOCK | O_CLOEXEC);
  if (log < 0) {
    if (errno != ENXIO && errno != ENOENT) return give_up(opened, argv[1]);
    signal_ssh(opened, SIGQUIT);
    return 0;
  }
  if (hand_over(argv[2], log) != 0) return give_up(opened, argv[2]);
  log = fcntl(log, F_DUPFD_CLOEXEC, FIRST_OTHER_FD);
  if (ssh < 0 || log < 0) return give_up(opened, "fcntl");
  /*
   * Terminals and service managers signal all processes that they know; this one must outlive the
   * tunnel.
   */
  ignore(SIGHUP);
  ignore(SIGINT);
  ignore(SIGTERM);
  switch (fork()) {
    case -1:
      return give_up(opened, "fork");
    case 0:
      if (detach(&log, &ssh) == 0)
        watch(log, ssh, parent);
      else
        signal_ssh(ssh, SIGQUIT);
      _exit(0);
    default:
      return 0;
  }
}
