/*
 * loop.h - the few functions of libuv that wait for a descriptor on Node's own event loop.
 *
 * Node exports libuv to its addons (nodejs.org, "C++ addons": "libuv"), but node-api-headers
 * doesn't contain its header. Only functions are declared here, and libuv itself returns the
 * handle's size, so nothing depends on the layout of its structs. libuv keeps both stable
 * throughout version 1 (docs.libuv.org, "Versioning scheme").
 */
#ifndef TUNNEL_LOOP_H
#define TUNNEL_LOOP_H

#include <stddef.h>

typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t; /* a uv_poll_t is one */

enum {
  LOOP_POLL_HANDLE = 8 /* UV_POLL of enum uv_handle_type */,
  LOOP_READABLE = 1 /* UV_READABLE */
};

size_t uv_handle_size(int type);
void uv_handle_set_data(uv_handle_t *handle, void *data);
void *uv_handle_get_data(const uv_handle_t *handle);
void uv_unref(uv_handle_t *handle);
void uv_close(uv_handle_t *handle, void (*closed)(uv_handle_t *handle));
int uv_poll_init(uv_loop_t *loop, uv_handle_t *handle, int fd);
int uv_poll_start(uv_handle_t *handle, int events,
                  void (*ready)(uv_handle_t *handle, int status, int events));
int uv_poll_stop(uv_handle_t *handle);

#endif
