/*
 * tunnel-launch PARENT COMMAND [ARGUMENT...]: becomes COMMAND, in a process that can't outlive the
 * tunnel.
 *
 * PARENT is the process id of the tunnel. Node can't do between fork and exec what is done here:
 *
 *   PR_SET_PDEATHSIG  the kernel kills the process when its parent dies, in whatever way
 * (prctl(2)). It stays over exec unless the program is set-user-id, set-group-id or has
 * capabilities; and it is not inherited by what the program starts. INT, TERM         are ignored.
 * A terminal sends Ctrl-C to the whole foreground process group, a service manager TERM to the
 * whole control group: the tunnel is to end its flows first and ssh then. A session of its own
 * would do as well, but would lose the terminal on which ssh asks for passwords. QUIT has its
 * default action, and no core is left: with it the tunnel ends ssh in order.
 *
 * HUP is left as it is: ssh ends a ProxyCommand with it. Exits with 127 when there is no such
 * command, with 126 when it can't be run, with 125 for a wrong use, and with a line on stderr each
 * time; with 125 and none when PARENT is gone.
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
  /**
   * It may have died before the kernel was asked to tell; then somebody else is the parent by now.
   */
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
