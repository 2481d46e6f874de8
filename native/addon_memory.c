/*
 * addon_memory.c - keeps the memory of the process, which has keys in it, from others
 * (src/native/addon.ts).
 */
#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "addon.h"

/*
 * Without PR_SET_DUMPABLE only root may trace the process or read its memory (ptrace(2)), and the
 * kernel writes no core (core(5)), or with fs.suid_dumpable=2 one for root. The limit keeps that
 * one away as well.
 */
static napi_value hide_memory_js(napi_env env, napi_callback_info info) {
  const struct rlimit none = {0, 0};
  (void)info;
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return addon_throw_errno(env, "prctl", errno);
  if (setrlimit(RLIMIT_CORE, &none) < 0) return addon_throw_errno(env, "setrlimit", errno);
  return NULL;
}

const struct addon_function addon_memory_functions[] = {
    {"hideMemory", hide_memory_js},
    {NULL, NULL},
};
