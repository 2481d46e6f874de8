/*
 * addon_privileges.c - makes a process that is root another user's, and closes the way back
 * (src/native/addon.ts).
 *
 * The C library applies a change of users and groups to all threads (nptl(7)).
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <unistd.h>

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

/* Gets `count` numbers of users or groups. */
static bool numbers(napi_env env, napi_callback_info info, size_t count, uint32_t *values) {
  napi_value argv[2];
  size_t argc = count;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc != count)
    return false;
  for (size_t i = 0; i < count; i++)
    if (napi_get_value_uint32(env, argv[i], &values[i]) != napi_ok) return false;
  return true;
}

/* initGroups(user, group): none but the group for a user whom the user database doesn't have. */
static napi_value init_groups_js(napi_env env, napi_callback_info info) {
  uint32_t id[2];
  if (!numbers(env, info, 2, id)) return addon_throw_errno(env, "initGroups", EINVAL);
  errno = 0;
  const struct passwd *entry = getpwuid(id[0]);
  if (entry == NULL && errno != 0 && errno != ENOENT && errno != ESRCH)
    return addon_throw_errno(env, "getpwuid", errno);
  const gid_t group = id[1];
  const int result = entry == NULL ? setgroups(1, &group) : initgroups(entry->pw_name, group);
  return result < 0 ? addon_throw_errno(env, "setgroups", errno) : NULL;
}

/* setGroups(Uint32Array) */
static napi_value set_groups_js(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  size_t argc = 1;
  uint8_t *data;
  size_t length;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc != 1 ||
      !addon_octets(env, argv[0], &data, &length) || length % sizeof(gid_t) != 0)
    return addon_throw_errno(env, "setGroups", EINVAL);
  if (setgroups(length / sizeof(gid_t), (const gid_t *)(const void *)data) < 0)
    return addon_throw_errno(env, "setgroups", errno);
  return NULL;
}

/* setUser(user, group): for good. */
static napi_value set_user_js(napi_env env, napi_callback_info info) {
  uint32_t id[2];
  if (!numbers(env, info, 2, id)) return addon_throw_errno(env, "setUser", EINVAL);
  if (setgid(id[1]) < 0) return addon_throw_errno(env, "setgid", errno);
  if (setuid(id[0]) < 0) return addon_throw_errno(env, "setuid", errno);
  return NULL;
}

/* setEffectiveUser(user, group): as root, or back to root. */
static napi_value set_effective_user_js(napi_env env, napi_callback_info info) {
  uint32_t id[2];
  if (!numbers(env, info, 2, id)) return addon_throw_errno(env, "setEffectiveUser", EINVAL);
  /* Only root may change the group. */
  if (geteuid() != 0 && seteuid(0) < 0) return addon_throw_errno(env, "seteuid", errno);
  if (setegid(id[1]) < 0) return addon_throw_errno(env, "setegid", errno);
  if (seteuid(id[0]) < 0) return addon_throw_errno(env, "seteuid", errno);
  return NULL;
}

const struct addon_function addon_privileges_functions[] = {
    {"initGroups", init_groups_js},
    {"setGroups", set_groups_js},
    {"setUser", set_user_js},
    {"setEffectiveUser", set_effective_user_js},
    {"lockPrivileges", lock_privileges_js},
    {NULL, NULL},
};
