/*
 * addon_netwatch.c - makes netwatch.c available to JavaScript (src/native/addon.ts). As in
 * addon_link.c, a struct addon_netwatch lives until both its holders have released it: the
 * JavaScript object and the threadsafe function.
 */
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "addon.h"
#include "netwatch.h"

struct addon_netwatch {
  struct netwatch *watch; /* NULL: stopped */
  napi_threadsafe_function deliver;
  napi_env env;
  int holders;
};

/* Distinguishes this object from others that wrap something. */
static const napi_type_tag netwatch_tag = {0x1f0a5c7d93e84b26, 0xb3d2e96410fa7c58};

static void netwatch_release(struct addon_netwatch *holder) {
  if (--holder->holders == 0) free(holder);
}

/* Runs on the watch's thread. napi_closing: nobody waits for it any more. */
static void netwatch_changed(void *context, int error) {
  struct addon_netwatch *holder = context;
  (void)napi_call_threadsafe_function(holder->deliver, (void *)(intptr_t)error,
                                      napi_tsfn_nonblocking);
}

static void netwatch_deliver(napi_env env, napi_value callback, void *context, void *data) {
  struct addon_netwatch *holder = context;
  napi_value error;

  if (env == NULL || callback == NULL || holder->watch == NULL) return;
  if (napi_create_int32(env, (int32_t)(intptr_t)data, &error) == napi_ok)
    addon_callback(env, callback, 1, &error);
}

/* Also used as the environment's clean-up hook. */
static void netwatch_close(void *data) {
  struct addon_netwatch *holder = data;

  if (holder->watch == NULL) return;
  netwatch_stop(holder->watch);
  holder->watch = NULL;
  (void)napi_remove_env_cleanup_hook(holder->env, netwatch_close, holder);
  (void)napi_release_threadsafe_function(holder->deliver, napi_tsfn_abort);
}

static void netwatch_delivery_finalized(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  netwatch_release(data);
}

static void netwatch_object_finalized(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  netwatch_close(data);
  netwatch_release(data);
}

static napi_value netwatch_start_js(napi_env env, napi_callback_info info) {
  napi_value argv[2], object, name;
  size_t argc = 2, length;
  char device[IF_NAMESIZE];
  napi_valuetype type;
  int error;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_get_value_string_utf8(env, argv[0], device, sizeof device, &length) != napi_ok ||
      napi_typeof(env, argv[1], &type) != napi_ok || type != napi_function) {
    napi_throw_type_error(env, NULL, "netwatchStart(device, onChange)");
    return NULL;
  }
  struct addon_netwatch *holder = calloc(1, sizeof *holder);
  if (holder == NULL) return addon_throw_errno(env, "netwatchStart", ENOMEM);
  holder->env = env;
  if (napi_create_string_utf8(env, "network watch", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_object(env, &object) != napi_ok ||
      napi_type_tag_object(env, object, &netwatch_tag) != napi_ok ||
      napi_create_threadsafe_function(env, argv[1], NULL, name, 0, 1, holder,
                                      netwatch_delivery_finalized, holder, netwatch_deliver,
                                      &holder->deliver) != napi_ok) {
    free(holder);
    return addon_throw_errno(env, "netwatchStart", ENOMEM);
  }
  holder->holders = 1;
  /* The watch doesn't keep the process running. */
  (void)napi_unref_threadsafe_function(env, holder->deliver);

  if (napi_wrap(env, object, holder, netwatch_object_finalized, NULL, NULL) == napi_ok) {
    holder->holders++;
    holder->watch = netwatch_start(if_nametoindex(device), netwatch_changed, holder, &error);
    if (holder->watch != NULL) {
      (void)napi_add_env_cleanup_hook(env, netwatch_close, holder);
      return object;
    }
  } else {
    error = ENOMEM;
  }
  (void)napi_release_threadsafe_function(holder->deliver, napi_tsfn_abort);
  return addon_throw_errno(env, "netwatchStart", error);
}

static napi_value netwatch_stop_js(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  size_t argc = 1;
  bool tagged = false;
  void *data = NULL;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) == napi_ok && argc >= 1 &&
      napi_check_object_type_tag(env, argv[0], &netwatch_tag, &tagged) == napi_ok && tagged &&
      napi_unwrap(env, argv[0], &data) == napi_ok)
    netwatch_close(data);
  else
    napi_throw_type_error(env, NULL, "the argument must be what netwatchStart returned");
  return NULL;
}

const struct addon_function addon_netwatch_functions[] = {
    {"netwatchStart", netwatch_start_js},
    {"netwatchStop", netwatch_stop_js},
    {NULL, NULL},
};
