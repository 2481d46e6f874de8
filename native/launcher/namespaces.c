#include "launcher/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ID_MAP_TEXT 64

bool namespaces_is_privileged(void) {
  const uint32_t needed = CAP_TO_MASK(CAP_SYS_ADMIN) | CAP_TO_MASK(CAP_NET_ADMIN);
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

  return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & needed) == needed;
}

int namespaces_write(const char *path, const char *text) {
  const size_t length = strlen(text);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t written = write(fd, text, length);
  int result = written < 0 ? -errno : (size_t)written == length ? 0 : -EIO;
  close(fd);
  return result;
}

static bool id_map(const char *path, unsigned id, struct fault *fault) {
  char text[ID_MAP_TEXT];

  snprintf(text, sizeof text, "%u %u 1\n", id, id);
  int result = namespaces_write(path, text);
  return result == 0 || fault_set(fault, LAUNCHER_STEP_MAPPING, result, "%s", path);
}

/* Maps the user and group onto themselves, in the new user namespace. */
static bool map_user(uid_t uid, gid_t gid, struct fault *fault) {
  /*
   * Without this an unprivileged process may not map a group: it could then drop a group that
   * denies it something.
   */
  int result = namespaces_write("/proc/self/setgroups", "deny");
  if (result < 0 && result != -ENOENT)
    return fault_set(fault, LAUNCHER_STEP_MAPPING, result, "/proc/self/setgroups");
  return id_map("/proc/self/uid_map", uid, fault) && id_map("/proc/self/gid_map", gid, fault);
}

bool namespaces_enter(struct fault *fault) {
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  const bool hidden = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 1;

  if (namespaces_is_privileged()) {
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) == 0) return true;
    return fault_set(fault, LAUNCHER_STEP_NAMESPACES, errno, "network and mount namespace");
  }
  /* One after the other, so that the error names the one that is refused. */
  if (unshare(CLONE_NEWUSER) < 0)
    return fault_set(fault, LAUNCHER_STEP_NAMESPACES, errno, "user namespace");
  /*
   * After a change of user (user.h) this process's files in /proc belong to root and can't be
   * written. Being dumpable gives them to the user, for these writes only.
   */
  if (hidden) (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  const bool mapped = map_user(uid, gid, fault);
  if (hidden) (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (!mapped) return false;
  if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0)
    return fault_set(fault, LAUNCHER_STEP_NAMESPACES, errno, "network and mount namespace");
  return true;
}
