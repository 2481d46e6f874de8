/*
 * addon_privileges.c - closes the way back to root for a process that was root
 * (src/native/addon.ts).
 */
#include <errno.h>
#include <sys/prctl.h>

#include "addon.h"
#include "seccomp.h"

/*
 * prctl(2) sets no_new_privs for one thread, and Node has many. The filter brings it to all of them
 * (SECCOMP_FILTER_FLAG_TSYNC). Where there are no filters, at least this thread has it, which
 * starts all children.
 */
static napi_value lock_privileges_js(napi_env env, napi_callback_info info) {
  (void)info;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return addon_throw_errno(env, "prctl", errno);
  const int result = seccomp_refuse_roots(true);
  if (result < 0 && result != -ENOSYS && result != -EINVAL)
    return addon_throw_errno(env, "seccomp", -result);
  return NULL;
}

napi_status addon_privileges_register(napi_env env, napi_value exports) {
  return addon_function(env, exports, "lockPrivileges", lock_privileges_js);
}
