#include "launcher/command.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "launcher/user.h"
#include "seccomp.h"

bool command_unprivilege(struct fault *fault) {
  if (!user_drop_capabilities(fault)) return false;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
    return fault_set(fault, LAUNCHER_STEP_PRIVILEGES, errno, "no_new_privs");
  /* A kernel without filters refuses the calls itself. */
  (void)seccomp_refuse_roots(false);
  return true;
}

/* Whether a directory of PATH has a file with this name, executable or not. */
static bool is_in_path(const char *name) {
  const char *directory = getenv("PATH");
  char path[PATH_MAX];

  while (directory != NULL) {
    const size_t length = strcspn(directory, ":");
    int written = snprintf(path, sizeof path, "%.*s/%s", (int)length, directory, name);
    if (written > 0 && (size_t)written < sizeof path &&
        access(length == 0 ? name : path, F_OK) == 0)
      return true;
    directory = directory[length] == ':' ? directory + length + 1 : NULL;
  }
  return false;
}

void command_execute(char **argv, uint32_t descriptors, struct fault *fault) {
  struct rlimit limit;

  if (descriptors != 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0 && descriptors < limit.rlim_max) {
    limit.rlim_cur = descriptors;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* lowering a soft limit can't fail */
  }
  execvp(argv[0], argv);
  int error = errno;
  /*
   * execvp also reports EACCES if the user may not enter a directory of PATH. Shells report ENOENT
   * if they have found no such file.
   */
  if (error == EACCES && strchr(argv[0], '/') == NULL && !is_in_path(argv[0])) error = ENOENT;
  fault_set(fault, LAUNCHER_STEP_EXECUTE, error, "%s", argv[0]);
}

int command_failure_status(const struct fault *fault) {
  if (fault->step != LAUNCHER_STEP_EXECUTE) return LAUNCHER_EXIT_FAILED;
  return fault->error == ENOENT || fault->error == ENOTDIR ? LAUNCHER_EXIT_NOT_FOUND
                                                           : LAUNCHER_EXIT_CANNOT_EXECUTE;
}
