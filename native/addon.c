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

static const struct addon_function *const FILES[] = {
    addon_device_functions,
    addon_socket_functions,
    addon_link_functions,
    addon_job_functions,
    addon_netwatch_functions,
    addon_gcm_functions,
    addon_write_functions,
    addon_rtnetlink_functions,
    addon_sockdiag_functions,
    addon_memory_functions,
    addon_privileges_functions,
    addon_service_functions,
    addon_terminal_functions,
    addon_transfer_functions,
    addon_clients_functions,
};

static bool add(napi_env env, napi_value exports, const struct addon_function *function) {
  napi_value value;
  return napi_create_function(env, function->name, NAPI_AUTO_LENGTH, function->callback, NULL,
                              &value) == napi_ok &&
         napi_set_named_property(env, exports, function->name, value) == napi_ok;
}

NAPI_MODULE_INIT() {
  fd_keep_from_children(FIRST_INHERITED);
  for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++)
    for (const struct addon_function *function = FILES[i]; function->name != NULL; function++)
      if (!add(env, exports, function)) {
        napi_throw_error(env, NULL, "the addon's functions could not be registered");
        return exports;
      }
  return exports;
}
