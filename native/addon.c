/* addon.c - registers the addon's functions; src/native/addon.ts has their types. */
#include "addon.h"
#include "fd.h"

/* The macro below defines two functions without declaring them first. */
NAPI_MODULE_EXPORT int32_t NODE_API_MODULE_GET_API_VERSION(void);
NAPI_MODULE_EXPORT napi_value NAPI_MODULE_INITIALIZER(napi_env env, napi_value exports);

/*
 * Of the descriptors that it was started with, Node closes the lowest in its children, up to the
 * first gap. The others would reach ssh, ProxyCommands and the command of `tunnel exec`.
 */
#define FIRST_INHERITED 3

NAPI_MODULE_INIT() {
  fd_keep_from_children(FIRST_INHERITED);
  if (addon_device_register(env, exports) != napi_ok ||
      addon_socket_register(env, exports) != napi_ok ||
      addon_link_register(env, exports) != napi_ok || addon_job_register(env, exports) != napi_ok ||
      addon_netwatch_register(env, exports) != napi_ok ||
      addon_gcm_register(env, exports) != napi_ok ||
      addon_write_register(env, exports) != napi_ok ||
      addon_rtnetlink_register(env, exports) != napi_ok ||
      addon_sockdiag_register(env, exports) != napi_ok ||
      addon_memory_register(env, exports) != napi_ok ||
      addon_privileges_register(env, exports) != napi_ok ||
      addon_service_register(env, exports) != napi_ok ||
      addon_terminal_register(env, exports) != napi_ok ||
      addon_transfer_register(env, exports) != napi_ok ||
      addon_clients_register(env, exports) != napi_ok)
    napi_throw_error(env, NULL, "the addon's functions could not be registered");
  return exports;
}
