/* addon_gcm.c - makes gcm.c available to JavaScript: gcmCreate, gcmSeal, gcmSealData, gcmOpen. */
#include <errno.h>

#include "addon.h"
#include "gcm.h"

static void finalized(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  gcm_free(data);
}

/* gcmCreate(key, nonce, seals): an object, or null if Node has no OpenSSL. */
static napi_value create_js(napi_env env, napi_callback_info info) {
  size_t argc = 3, key_length, nonce_length;
  napi_value argv[3], object;
  uint8_t *key, *nonce;
  bool seals;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 3 ||
      !addon_octets(env, argv[0], &key, &key_length) ||
      !addon_octets(env, argv[1], &nonce, &nonce_length) || nonce_length != GCM_NONCE ||
      napi_get_value_bool(env, argv[2], &seals) != napi_ok) {
    napi_throw_type_error(env, NULL, "gcmCreate(key, nonce of 12 bytes, seals)");
    return NULL;
  }
  struct gcm *gcm = gcm_new(key, key_length, nonce, seals);
  if (gcm == NULL && errno == ENOSYS) return napi_get_null(env, &object) == napi_ok ? object : NULL;
  if (gcm == NULL) return addon_throw_errno(env, "gcmCreate", errno);
  if (napi_create_external(env, gcm, finalized, NULL, &object) == napi_ok) return object;
  gcm_free(gcm);
  return addon_throw_errno(env, "gcmCreate", ENOMEM);
}

/*
 * The first arguments of all calls: an object from gcmCreate, memory, and a range of it. `argv`
 * must have space for six arguments.
 */
struct call {
  struct gcm *gcm;
  uint8_t *bytes;
  size_t length;
};

static bool arguments(napi_env env, napi_callback_info info, napi_value *argv, struct call *call) {
  size_t argc = 6, capacity;
  uint32_t from, to;
  void *gcm;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) == napi_ok &&
      napi_get_value_external(env, argv[0], &gcm) == napi_ok &&
      addon_octets(env, argv[1], &call->bytes, &capacity) &&
      napi_get_value_uint32(env, argv[2], &from) == napi_ok &&
      napi_get_value_uint32(env, argv[3], &to) == napi_ok && from <= to && to <= capacity) {
    *call = (struct call){.gcm = gcm, .bytes = call->bytes + from, .length = to - from};
    return true;
  }
  napi_throw_type_error(
      env, NULL, "the first arguments must be what gcmCreate has returned, a Uint8Array, from, to");
  return false;
}

/* gcmSeal(gcm, bytes, from, to): whether it succeeded. */
static napi_value seal_js(napi_env env, napi_callback_info info) {
  napi_value argv[6], result;
  struct call call;

  if (!arguments(env, info, argv, &call)) return NULL;
  return napi_get_boolean(env, gcm_seal(call.gcm, call.bytes, call.length), &result) == napi_ok
             ? result
             : NULL;
}

/* gcmSealData(gcm, bytes, from, to, channel, data): whether it succeeded. */
static napi_value seal_data_js(napi_env env, napi_callback_info info) {
  napi_value argv[6], result;
  struct call call;
  uint8_t *data;
  size_t data_length;
  uint32_t channel;

  if (!arguments(env, info, argv, &call)) return NULL;
  if (napi_get_value_uint32(env, argv[4], &channel) != napi_ok ||
      !addon_octets(env, argv[5], &data, &data_length)) {
    napi_throw_type_error(env, NULL, "gcmSealData(gcm, bytes, from, to, channel, data)");
    return NULL;
  }
  const bool sealed = gcm_seal_data(call.gcm, call.bytes, call.length, channel, data, data_length);
  return napi_get_boolean(env, sealed, &result) == napi_ok ? result : NULL;
}

/* gcmOpen(gcm, bytes, from, to): the length of the payload, negative if the packet is refused. */
static napi_value open_js(napi_env env, napi_callback_info info) {
  napi_value argv[6], result;
  struct call call;

  if (!arguments(env, info, argv, &call)) return NULL;
  return napi_create_int32(env, gcm_open(call.gcm, call.bytes, call.length), &result) == napi_ok
             ? result
             : NULL;
}

const struct addon_function addon_gcm_functions[] = {
    {"gcmCreate", create_js},
    {"gcmSeal", seal_js},
    {"gcmSealData", seal_data_js},
    {"gcmOpen", open_js},
    {NULL, NULL},
};
