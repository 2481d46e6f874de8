/* addon_glue.c - what the files of the addon share: arguments, errors, callbacks. */
#include <stdio.h>
#include <string.h>

#include "addon.h"

bool addon_octets(napi_env env, napi_value value, uint8_t **data, size_t *length) {
  napi_typedarray_type type;
  void *start;
  if (napi_get_typedarray_info(env, value, &type, length, &start, NULL, NULL) != napi_ok ||
      type != napi_uint8_array)
    return false;
  *data = start;
  return true;
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

void addon_callback(napi_env env, napi_value callback, size_t argc, const napi_value *argv) {
  napi_value receiver, thrown;

  if (napi_get_undefined(env, &receiver) != napi_ok) return;
  if (napi_call_function(env, receiver, callback, argc, argv, NULL) != napi_pending_exception)
    return;
  if (napi_get_and_clear_last_exception(env, &thrown) == napi_ok)
    (void)napi_fatal_exception(env, thrown);
}
