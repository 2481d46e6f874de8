#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "caller.h"

bool privileges_caller(uid_t *caller) {
  const char *wrong = caller_find(caller);

  if (wrong != NULL) fprintf(stderr, "tunnel-helper: %s\n", wrong);
  clearenv();
  return wrong == NULL;
}

static int capabilities_get(struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  return syscall(SYS_capget, &header, data) < 0 ? -errno : 0;
}

static int capabilities_set(uint32_t first) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  const struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
      {.effective = first, .permitted = first}};
  return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* Without CAP_SETPCAP the bounding set stays, but no_new_privs makes it ineffective. */
static int bounding_set_drop(bool may) {
  for (unsigned long capability = 0; may && prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0;
       capability++)
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) return -errno;
  return 0;
}

int privileges_drop(uid_t uid, gid_t gid, const char **what) {
  const uint32_t net_admin = CAP_TO_MASK(CAP_NET_ADMIN);
  struct __user_cap_data_struct held[_LINUX_CAPABILITY_U32S_3];
  int result;

  *what = "capabilities";
  if ((result = capabilities_get(held)) < 0) return result;
  *what = "CAP_NET_ADMIN";
  if ((held[0].permitted & net_admin) == 0) return -EPERM;

  *what = "capability bounding set";
  if ((result = bounding_set_drop((held[0].effective & CAP_TO_MASK(CAP_SETPCAP)) != 0)) < 0)
    return result;

  if (uid != 0) {
    *what = "change of user";
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return -errno;
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
      return -errno;
  }

  *what = "capabilities";
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) return -errno;
  if ((result = capabilities_set(net_admin)) < 0) return result;
  *what = "no_new_privs";
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
  *what = "dumpable";
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return -errno;
  return 0;
}
