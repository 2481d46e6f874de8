#include "launcher/user.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include "caller.h"

bool user_find(struct user *user, struct fault *fault) {
  const char *wrong = caller_find(&user->uid);
  if (wrong != NULL) return fault_set(fault, LAUNCHER_STEP_PRIVILEGES, EINVAL, "%s", wrong);

  user->gid = getgid();
  if (user->uid == getuid()) return true;
  const struct passwd *entry = getpwuid(user->uid);
  user->gid = entry != NULL ? entry->pw_gid : (gid_t)user->uid;
  user->group_count = 0;
  if (entry == NULL) return true;
  user->group_count = USER_MAX_GROUPS;
  if (getgrouplist(entry->pw_name, user->gid, user->groups, &user->group_count) < 0) {
    user->group_count = USER_MAX_GROUPS;
    openlog("tunnel-launcher", LOG_PID, LOG_DAEMON);
    syslog(LOG_WARNING, "USER_MAX_GROUPS (%d): the other groups of this user give no rights",
           USER_MAX_GROUPS);
    closelog();
  }
  return true;
}

bool user_drop_bounding_set(struct fault *fault) {
  for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0;
       capability++)
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
      return errno == EPERM || fault_set(fault, LAUNCHER_STEP_PRIVILEGES, errno, "bounding set");
  return true;
}

bool user_drop_capabilities(struct fault *fault) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{.effective = 0}};

  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
    return fault_set(fault, LAUNCHER_STEP_PRIVILEGES, errno, "ambient capabilities");
  if (syscall(SYS_capset, &header, none) < 0)
    return fault_set(fault, LAUNCHER_STEP_PRIVILEGES, errno, "capabilities");
  return true;
}

bool user_become(const struct user *user, struct fault *fault) {
  if (user->uid == getuid()) return true;
  if (setgroups((size_t)user->group_count, user->groups) < 0 ||
      setresgid(user->gid, user->gid, user->gid) < 0 ||
      setresuid(user->uid, user->uid, user->uid) < 0)
    return fault_set(fault, LAUNCHER_STEP_PRIVILEGES, errno, "change of user");
  /* The kernel has dropped them already, unless securebits prevent that (capabilities(7)). */
  return user_drop_capabilities(fault);
}
