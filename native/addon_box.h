/* addon_box.h - an engine as JavaScript holds it (addon_engine.c, addon_datagram.c). */
#ifndef TUNNEL_ADDON_BOX_H
#define TUNNEL_ADDON_BOX_H

#include <node_api.h>

struct engine;

/* What the external value holds; `engine` is NULL once it has been stopped. */
struct engine_box {
  struct engine *engine;
  napi_threadsafe_function on_events;
};

/* The box of the first argument, and `argc` arguments in all; NULL after throwing. */
struct engine_box *engine_box_argument(napi_env env, napi_callback_info info, napi_value *argv, size_t argc);

#endif
