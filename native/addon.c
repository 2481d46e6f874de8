/* addon.c - registers the addon's functions; what they have in common. The functions are typed in src/native.ts. */
#include "addon.h"

#include <stdio.h>
#include <string.h>

napi_status addon_function(napi_env env, napi_value exports, const char *name, napi_callback callback) {
  napi_value function;
  const napi_status status = napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, NULL, &function);
  return status == napi_ok ? napi_set_named_property(env, exports, name, function) : status;
}

napi_value addon_throw_errno(napi_env env, const char *what, int error) {
  char text[256];
  snprintf(text, sizeof text, "%s: %s", what, strerror(error));
  napi_value message, thrown, number;
  if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message) == napi_ok &&
      napi_create_error(env, NULL, message, &thrown) == napi_ok &&
      napi_create_int32(env, error, &number) == napi_ok &&
      napi_set_named_property(env, thrown, "errno", number) == napi_ok)
    napi_throw(env, thrown);
  else
    napi_throw_error(env, NULL, text);
  return NULL;
}

/* The macro below defines two functions without declaring them first. */
NAPI_MODULE_EXPORT int32_t NODE_API_MODULE_GET_API_VERSION(void);
NAPI_MODULE_EXPORT napi_value NAPI_MODULE_INITIALIZER(napi_env env, napi_value exports);

NAPI_MODULE_INIT() {
  if (addon_engine_register(env, exports) != napi_ok || addon_socket_register(env, exports) != napi_ok ||
      addon_link_register(env, exports) != napi_ok)
    napi_throw_error(env, NULL, "the addon's functions could not be registered");
  return exports;
}
