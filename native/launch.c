/*
 * tunnel-launch PARENT COMMAND [ARGUMENT...]: becomes COMMAND, in a process that can't outlive the
 * tunnel.
 *
 * PARENT is the process id of the tunnel. Node can't do these things between fork and exec:
 *
 *   PR_SET_PDEATHSIG  the kernel kills the process when its parent dies, however that happens
 *                     (prctl(2)). The setting survives exec unless the program is set-user-id,
 *                     set-group-id or has capabilities. Children of the program don't inherit it.
 *   INT, TERM         are ignored. A terminal sends Ctrl-C to the whole foreground process group,
 *                     and a service manager sends TERM to the whole control group, but the tunnel
 *                     must end its flows first and ssh after that. A new session would work too,
 *                     but would lose the terminal on which ssh asks for passwords.
 *   QUIT              has its default action, without a core dump: the tunnel uses it to end ssh.
 *
 * HUP is left as it is, because ssh ends a ProxyCommand with it. Exits with 127 if there is no such
 * command, 126 if it can't be run, 125 for wrong usage, each with a line on stderr; and with 125
 * and no message if PARENT is gone.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EXIT_USE = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

static void dispose(int signal, void (*disposition)(int)) {
  struct sigaction action = {.sa_handler = disposition};
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, NULL);
}

int main(int argc, char **argv) {
  char *end = NULL;
  long parent = argc < 3 ? 0 : strtol(argv[1], &end, 10);
  if (parent <= 0 || *end != '\0') {
    fprintf(stderr, "usage: tunnel-launch PARENT COMMAND [ARGUMENT...]\n");
    return EXIT_USE;
  }
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
    fprintf(stderr, "tunnel-launch: prctl: %s\n", strerror(errno));
    return EXIT_USE;
  }
  /* The parent may have died before prctl(2); then this process has another parent by now. */
  if (getppid() != (pid_t)parent) return EXIT_USE;

  dispose(SIGINT, SIG_IGN);
  dispose(SIGTERM, SIG_IGN);
  dispose(SIGQUIT, SIG_DFL);
  struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) {
    fprintf(stderr, "tunnel-launch: setrlimit: %s\n", strerror(errno));
    return EXIT_USE;
  }
  execvp(argv[2], argv + 2);
  int error = errno;
  fprintf(stderr, "tunnel-launch: %s: %s\n", argv[2], strerror(error));
  return error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}
