/*
 * addon.h - the functions of each file of the addon, and shared helpers. Node-API glue only; no
 * logic.
 */
#ifndef TUNNEL_ADDON_H
#define TUNNEL_ADDON_H

#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>

/* A function of the addon. The last one of a file has no name. */
struct addon_function {
  const char *name;
  napi_callback callback;
};

extern const struct addon_function addon_device_functions[];
extern const struct addon_function addon_socket_functions[];
extern const struct addon_function addon_link_functions[];
extern const struct addon_function addon_job_functions[];
extern const struct addon_function addon_netwatch_functions[];
extern const struct addon_function addon_gcm_functions[];
extern const struct addon_function addon_write_functions[];
extern const struct addon_function addon_rtnetlink_functions[];
extern const struct addon_function addon_sockdiag_functions[];
extern const struct addon_function addon_memory_functions[];
extern const struct addon_function addon_privileges_functions[];
extern const struct addon_function addon_service_functions[];
extern const struct addon_function addon_terminal_functions[];
extern const struct addon_function addon_transfer_functions[];
extern const struct addon_function addon_clients_functions[];

/*
 * Calls a callback on the JavaScript thread, for a threadsafe function. An exception in it becomes
 * an uncaught exception, as with any other event; without this Node-API would only warn and drop
 * it.
 */
void addon_callback(napi_env env, napi_value callback, size_t argc, const napi_value *argv);

/* Gets the memory of a Uint8Array. False: `value` isn't one. */
bool addon_octets(napi_env env, napi_value value, uint8_t **data, size_t *length);

/* Throws an Error with the property `errno` (positive); returns NULL for the caller to return. */
napi_value addon_throw_errno(napi_env env, const char *what, int error);

#endif
