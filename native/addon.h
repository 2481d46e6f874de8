/* addon.h - what the files of the addon register. Node-API glue only; no logic. */
#ifndef TUNNEL_ADDON_H
#define TUNNEL_ADDON_H

#include <node_api.h>

napi_status addon_engine_register(napi_env env, napi_value exports);
napi_status addon_socket_register(napi_env env, napi_value exports);
napi_status addon_link_register(napi_env env, napi_value exports);

/* Adds one function to `exports`. */
napi_status addon_function(napi_env env, napi_value exports, const char *name, napi_callback callback);

/* Throws an Error with the property `errno` (positive); returns NULL, to be returned in turn. */
napi_value addon_throw_errno(napi_env env, const char *what, int error);

#endif
