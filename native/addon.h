/*
 * addon.h - the functions that the files of the addon register, and shared helpers. Node-API glue
 * only; no logic.
 */
#ifndef TUNNEL_ADDON_H
#define TUNNEL_ADDON_H

#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>

napi_status addon_device_register(napi_env env, napi_value exports);
napi_status addon_socket_register(napi_env env, napi_value exports);
napi_status addon_link_register(napi_env env, napi_value exports);
napi_status addon_job_register(napi_env env, napi_value exports);
napi_status addon_netwatch_register(napi_env env, napi_value exports);
napi_status addon_gcm_register(napi_env env, napi_value exports);
napi_status addon_write_register(napi_env env, napi_value exports);
napi_status addon_rtnetlink_register(napi_env env, napi_value exports);
napi_status addon_sockdiag_register(napi_env env, napi_value exports);
napi_status addon_memory_register(napi_env env, napi_value exports);
napi_status addon_privileges_register(napi_env env, napi_value exports);
napi_status addon_service_register(napi_env env, napi_value exports);
napi_status addon_terminal_register(napi_env env, napi_value exports);
napi_status addon_transfer_register(napi_env env, napi_value exports);
napi_status addon_clients_register(napi_env env, napi_value exports);

/*
 * Calls a callback on the JavaScript thread, for a threadsafe function. An exception in it becomes
 * an uncaught exception, as with any other event; without this Node-API would only warn and drop
 * it.
 */
void addon_callback(napi_env env, napi_value callback, size_t argc, const napi_value *argv);

/* Adds one function to `exports`. */
napi_status addon_function(napi_env env, napi_value exports, const char *name,
                           napi_callback callback);

/* Gets the memory of a Uint8Array. False: `value` isn't one. */
bool addon_octets(napi_env env, napi_value value, uint8_t **data, size_t *length);

/* Throws an Error with the property `errno` (positive); returns NULL for the caller to return. */
napi_value addon_throw_errno(napi_env env, const char *what, int error);

#endif
