/* addon_engine.c - the engine's functions for JavaScript: engineStart, engineEvents, engineOpen, ... (src/native.ts). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "addon.h"
#include "addon_box.h"
#include "engine.h"

static void call_on_events(napi_env env, napi_value callback, void *context, void *data) {
  (void)context;
  if (env == NULL || callback == NULL) return; /* the environment is being torn down */
  napi_value error;
  if (napi_create_int32(env, (int32_t)(intptr_t)data, &error) == napi_ok) addon_callback(env, callback, 1, &error);
}

static void wake(void *context, int error) {
  struct engine_box *box = context;
  /* napi_closing: the environment is being torn down and nobody waits for the events any more. */
  napi_call_threadsafe_function(box->on_events, (void *)(intptr_t)error, napi_tsfn_nonblocking);
}

static void box_stop(struct engine_box *box) {
  if (box->engine == NULL) return;
  engine_stop(box->engine);
  box->engine = NULL;
  napi_release_threadsafe_function(box->on_events, napi_tsfn_abort);
}

static void box_finalize(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  box_stop(data);
  free(data);
}

static bool get_number(napi_env env, napi_value object, const char *name, uint32_t *number) {
  napi_value value;
  return napi_get_named_property(env, object, name, &value) == napi_ok &&
         napi_get_value_uint32(env, value, number) == napi_ok;
}

static bool get_octets(napi_env env, napi_value object, const char *name, uint8_t *into, size_t length) {
  napi_value value;
  napi_typedarray_type type;
  void *data;
  size_t count;
  if (napi_get_named_property(env, object, name, &value) != napi_ok ||
      napi_get_typedarray_info(env, value, &type, &count, &data, NULL, NULL) != napi_ok || type != napi_uint8_array ||
      count != length)
    return false;
  memcpy(into, data, length);
  return true;
}

static napi_value engine_start_js(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2];
  uint32_t fd, port4, port6;
  struct nat_config config = {0};
  napi_value datagrams_value;
  bool datagrams;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_get_named_property(env, argv[0], "datagrams", &datagrams_value) != napi_ok ||
      napi_get_value_bool(env, datagrams_value, &datagrams) != napi_ok || !get_number(env, argv[0], "fd", &fd) || !get_number(env, argv[0], "listenPort4", &port4) || port4 > 65535 ||
      !get_number(env, argv[0], "listenPort6", &port6) || port6 > 65535 ||
      !get_octets(env, argv[0], "listen4", config.listen4, sizeof config.listen4) ||
      !get_octets(env, argv[0], "peer4", config.peer4, sizeof config.peer4) ||
      !get_octets(env, argv[0], "listen6", config.listen6, sizeof config.listen6) ||
      !get_octets(env, argv[0], "peer6", config.peer6, sizeof config.peer6)) {
    napi_throw_type_error(env, NULL, "engineStart(options, onEvents)");
    return NULL;
  }
  config.listen_port4 = (uint16_t)port4;
  config.listen_port6 = (uint16_t)port6;
  if (getrandom(config.hash_seed, sizeof config.hash_seed, 0) != (ssize_t)sizeof config.hash_seed) {
    const int error = errno;
    close((int)fd);
    return addon_throw_errno(env, "getrandom", error);
  }

  struct engine_box *box = calloc(1, sizeof *box);
  napi_value name, external;
  if (box == NULL || napi_create_string_utf8(env, "tunnel engine", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_threadsafe_function(env, argv[1], NULL, name, 0, 1, NULL, NULL, NULL, call_on_events,
                                      &box->on_events) != napi_ok) {
    free(box);
    close((int)fd);
    return addon_throw_errno(env, "engineStart", ENOMEM);
  }
  napi_unref_threadsafe_function(env, box->on_events); /* sockets keep the program alive, not the engine */
  int error = 0;
  box->engine = engine_start((int)fd, &config, datagrams, wake, box, &error);
  if (box->engine == NULL) {
    napi_release_threadsafe_function(box->on_events, napi_tsfn_abort);
    free(box);
    return addon_throw_errno(env, "engineStart", error);
  }
  if (napi_create_external(env, box, box_finalize, NULL, &external) != napi_ok) {
    box_finalize(env, box, NULL);
    return addon_throw_errno(env, "engineStart", ENOMEM);
  }
  return external;
}

struct engine_box *engine_box_argument(napi_env env, napi_callback_info info, napi_value *argv, size_t argc) {
  size_t given = argc;
  void *box = NULL;
  if (napi_get_cb_info(env, info, &given, argv, NULL, NULL) != napi_ok || given < argc ||
      napi_get_value_external(env, argv[0], &box) != napi_ok) {
    napi_throw_type_error(env, NULL, "an engine and its arguments are needed");
    return NULL;
  }
  return box;
}

static napi_value engine_events_js(napi_env env, napi_callback_info info) {
  napi_value argv[2], count;
  struct engine_box *box = engine_box_argument(env, info, argv, 2);
  napi_typedarray_type type;
  size_t length, taken = 0;
  void *data;
  if (box == NULL) return NULL;
  if (napi_get_typedarray_info(env, argv[1], &type, &length, &data, NULL, NULL) != napi_ok ||
      type != napi_uint8_array || (uintptr_t)data % _Alignof(struct nat_event) != 0) {
    napi_throw_type_error(env, NULL, "engineEvents(engine, Uint8Array aligned to 8)");
    return NULL;
  }
  if (box->engine != NULL) taken = engine_take_events(box->engine, data, length / sizeof(struct nat_event));
  return napi_create_uint32(env, (uint32_t)taken, &count) == napi_ok ? count : NULL;
}

static napi_value submit(napi_env env, napi_callback_info info, enum engine_operation operation) {
  napi_value argv[3];
  struct engine_box *box = engine_box_argument(env, info, argv, operation == ENGINE_REFUSE ? 3 : 2);
  if (box == NULL) return NULL;
  int64_t flow;
  uint32_t refusal = 0;
  if (napi_get_value_int64(env, argv[1], &flow) != napi_ok || flow < 0 ||
      (operation == ENGINE_REFUSE &&
       (napi_get_value_uint32(env, argv[2], &refusal) != napi_ok || refusal > NAT_REFUSE_SILENT))) {
    napi_throw_type_error(env, NULL, "a flow (and a refusal) are needed");
    return NULL;
  }
  const struct engine_command command = {
      .flow = (uint64_t)flow, .operation = operation, .refusal = (enum nat_refusal)refusal};
  if (box->engine != NULL && !engine_submit(box->engine, &command)) addon_throw_errno(env, "engine", ENOMEM);
  return NULL;
}

static napi_value engine_open_js(napi_env env, napi_callback_info info) { return submit(env, info, ENGINE_OPEN); }
static napi_value engine_refuse_js(napi_env env, napi_callback_info info) { return submit(env, info, ENGINE_REFUSE); }
static napi_value engine_close_js(napi_env env, napi_callback_info info) { return submit(env, info, ENGINE_CLOSE); }

static void put(napi_env env, napi_value object, const char *name, uint64_t number) {
  napi_value value;
  if (napi_create_int64(env, (int64_t)number, &value) == napi_ok) napi_set_named_property(env, object, name, value);
}

static napi_value engine_counters_js(napi_env env, napi_callback_info info) {
  static const char *const drop_names[NAT_DROP_REASONS] = {
      [NAT_DROP_MALFORMED] = "droppedMalformed",       [NAT_DROP_FRAGMENT] = "droppedFragment",
      [NAT_DROP_MULTICAST] = "droppedMulticast",       [NAT_DROP_UNANSWERABLE] = "droppedUnanswerable",
      [NAT_DROP_RETRANSMIT] = "droppedRetransmit",     [NAT_DROP_PENDING_LIMIT] = "droppedPendingLimit",
      [NAT_DROP_FLOW_LIMIT] = "droppedFlowLimit",      [NAT_DROP_EVENT_LIMIT] = "droppedEventLimit",
      [NAT_DROP_SYN_TOO_LONG] = "droppedSynTooLong",   [NAT_DROP_SILENT] = "droppedSilent",
      [NAT_DROP_GIVEN_UP] = "droppedGivenUp",
  };
  napi_value argv[1], object;
  struct engine_box *box = engine_box_argument(env, info, argv, 1);
  if (box == NULL || napi_create_object(env, &object) != napi_ok) return NULL;
  struct engine_counters counters = {0};
  if (box->engine != NULL) engine_read_counters(box->engine, &counters);
  const struct nat_counters *nat = &counters.nat;
  put(env, object, "framesIn", nat->frames_in);
  put(env, object, "framesForwarded", nat->frames_forwarded);
  put(env, object, "framesAnswered", nat->frames_answered);
  put(env, object, "framesHeld", nat->frames_held);
  for (int reason = 0; reason < NAT_DROP_REASONS; reason++) put(env, object, drop_names[reason], nat->dropped[reason]);
  put(env, object, "answeredReset", nat->answered_reset);
  put(env, object, "answeredUnreachable", nat->answered_unreachable);
  put(env, object, "answeredProhibited", nat->answered_prohibited);
  put(env, object, "answeredPortUnreachable", nat->answered_port_unreachable);
  put(env, object, "bytesToListener", nat->bytes_to_listener);
  put(env, object, "bytesToApplication", nat->bytes_to_application);
  put(env, object, "flowsHeld", nat->flows_held_total);
  put(env, object, "flowsOpened", nat->flows_opened_total);
  put(env, object, "flowsRefused", nat->flows_refused_total);
  put(env, object, "flowsGone", nat->flows_gone_total);
  put(env, object, "flowsLive", nat->flows_live);
  put(env, object, "flowsPending", nat->flows_pending);
  put(env, object, "flowsLingering", nat->flows_lingering);
  put(env, object, "writeErrors", counters.write_errors);
  put(env, object, "datagramsIn", counters.datagrams_in);
  put(env, object, "datagramsDropped", counters.datagrams_dropped);
  return object;
}

static napi_value engine_stop_js(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  struct engine_box *box = engine_box_argument(env, info, argv, 1);
  if (box != NULL) box_stop(box);
  return NULL;
}

napi_status addon_engine_register(napi_env env, napi_value exports) {
  const struct {
    const char *name;
    napi_callback callback;
  } functions[] = {
      {"engineStart", engine_start_js}, {"engineEvents", engine_events_js},     {"engineOpen", engine_open_js},
      {"engineRefuse", engine_refuse_js}, {"engineClose", engine_close_js},     {"engineCounters", engine_counters_js},
      {"engineStop", engine_stop_js},
  };
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    const napi_status status = addon_function(env, exports, functions[i].name, functions[i].callback);
    if (status != napi_ok) return status;
  }
  return napi_ok;
}
