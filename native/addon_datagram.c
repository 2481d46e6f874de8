/* addon_datagram.c - the engine's functions for UDP: engineDatagrams, engineSendDatagram, engineRefuseDatagram. */
#include <string.h>

#include "addon.h"
#include "addon_box.h"
#include "engine.h"

static bool octets(napi_env env, napi_value value, uint8_t **data, size_t *length) {
  napi_typedarray_type type;
  void *start;
  if (napi_get_typedarray_info(env, value, &type, length, &start, NULL, NULL) != napi_ok || type != napi_uint8_array)
    return false;
  *data = start;
  return true;
}

static napi_value engine_datagrams_js(napi_env env, napi_callback_info info) {
  napi_value argv[2], filled;
  uint8_t *into;
  size_t length;

  struct engine_box *box = engine_box_argument(env, info, argv, 2);
  if (box == NULL) return NULL;
  if (!octets(env, argv[1], &into, &length) || length < ENGINE_DATAGRAM_BYTES) {
    napi_throw_type_error(env, NULL, "engineDatagrams(engine, Uint8Array that has room for all)");
    return NULL;
  }
  length = box->engine == NULL ? 0 : engine_take_datagrams(box->engine, into);
  return napi_create_uint32(env, (uint32_t)length, &filled) == napi_ok ? filled : NULL;
}

/* A struct datagram and its payload in one Uint8Array; NULL after throwing. */
static struct engine_box *datagram_argument(napi_env env, napi_callback_info info, napi_value *argv, size_t argc,
                                            struct datagram *datagram, const uint8_t **payload) {
  uint8_t *bytes;
  size_t length;

  struct engine_box *box = engine_box_argument(env, info, argv, argc);
  if (box == NULL) return NULL;
  if (octets(env, argv[1], &bytes, &length) && length >= sizeof *datagram) {
    memcpy(datagram, bytes, sizeof *datagram);
    *payload = bytes + sizeof *datagram;
    if (datagram->length <= length - sizeof *datagram) return box;
  }
  napi_throw_type_error(env, NULL, "a datagram is shorter than it says");
  return NULL;
}

static napi_value engine_send_datagram_js(napi_env env, napi_callback_info info) {
  struct datagram datagram;
  const uint8_t *payload;
  napi_value argv[2];

  struct engine_box *box = datagram_argument(env, info, argv, 2, &datagram, &payload);
  if (box != NULL && box->engine != NULL) engine_send_datagram(box->engine, &datagram, payload);
  return NULL;
}

static napi_value engine_refuse_datagram_js(napi_env env, napi_callback_info info) {
  struct datagram datagram;
  const uint8_t *payload;
  napi_value argv[3];
  uint32_t why;

  struct engine_box *box = datagram_argument(env, info, argv, 3, &datagram, &payload);
  if (box == NULL) return NULL;
  if (napi_get_value_uint32(env, argv[2], &why) != napi_ok || why > PACKET_NO_PORT) {
    napi_throw_type_error(env, NULL, "engineRefuseDatagram(engine, datagram, why)");
    return NULL;
  }
  if (box->engine != NULL) engine_refuse_datagram(box->engine, &datagram, payload, (enum packet_unreachable)why);
  return NULL;
}

napi_status addon_datagram_register(napi_env env, napi_value exports) {
  static const struct {
    const char *name;
    napi_callback callback;
  } functions[] = {{"engineDatagrams", engine_datagrams_js},
                   {"engineSendDatagram", engine_send_datagram_js},
                   {"engineRefuseDatagram", engine_refuse_datagram_js}};
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    const napi_status status = addon_function(env, exports, functions[i].name, functions[i].callback);
    if (status != napi_ok) return status;
  }
  return napi_ok;
}
