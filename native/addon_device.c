/*
 * addon_device.c - a TUN for JavaScript, on Node's own event loop: deviceOpen, deviceRead,
 * deviceWrite, deviceTap, deviceTapSwap, deviceClose.
 *
 *   readable -> uv_poll -> onReadable(0) -> JavaScript calls deviceRead() until no frame waits, or
 *                                           it has had enough
 *   gone     -> onReadable(errno), once
 *
 * There is no thread and no queue: JavaScript reads each frame into its own memory, and a frame
 * that it writes is in the kernel when the call returns. deviceTap() has each of them recorded in
 * JavaScript's memory (tap.h), without a call of JavaScript until that memory is full. A device
 * lives until deviceClose(), the collection of its object, or the end of the environment.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "addon.h"
#include "device.h"
#include "loop.h"
#include "tap.h"

struct addon_device {
  napi_env env;
  napi_ref on_readable;
  napi_async_context context;
  uv_handle_t *poll;
  uint8_t *header; /* of the frame to write: memory of `arena` */
  size_t header_capacity;
  napi_ref arena;
  struct tap tap;
  napi_ref tap_memory, tap_full; /* NULL: no tap */
  int fd; /* -1: closed */
};

static void poll_closed(uv_handle_t *poll) { free(poll); }

static void tap_end(struct addon_device *device) {
  if (device->tap_memory != NULL) (void)napi_delete_reference(device->env, device->tap_memory);
  if (device->tap_full != NULL) (void)napi_delete_reference(device->env, device->tap_full);
  device->tap_memory = NULL;
  device->tap_full = NULL;
  device->tap = (struct tap){0};
}

/* Records a frame; if there is no room, JavaScript may swap the memory. False: it has thrown. */
static bool tap_frame(struct addon_device *device, const struct iovec *parts, int count,
                      enum tap_direction direction) {
  napi_value callback, receiver;

  if (device->tap.memory == NULL || tap_record(&device->tap, parts, count, direction)) return true;
  if (napi_get_reference_value(device->env, device->tap_full, &callback) != napi_ok ||
      napi_get_global(device->env, &receiver) != napi_ok)
    return true;
  if (napi_call_function(device->env, receiver, callback, 0, NULL, NULL) != napi_ok) return false;
  /* If it doesn't fit now, it is lost: JavaScript has counted it. */
  if (device->tap.memory != NULL) (void)tap_record(&device->tap, parts, count, direction);
  return true;
}

/* Also used as the environment's clean-up hook. May be called more than once. */
static void device_close(void *data) {
  struct addon_device *device = data;

  if (device->fd < 0) return;
  (void)uv_poll_stop(device->poll);
  uv_close(device->poll, poll_closed);
  close(device->fd);
  device->fd = -1;
  tap_end(device);
  (void)napi_remove_env_cleanup_hook(device->env, device_close, device);
  (void)napi_delete_reference(device->env, device->on_readable);
  (void)napi_delete_reference(device->env, device->arena);
  (void)napi_async_destroy(device->env, device->context);
}

static void device_finalized(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  device_close(data);
  free(data);
}

static void device_ready(uv_handle_t *poll, int status, int events) {
  struct addon_device *device = uv_handle_get_data(poll);
  napi_handle_scope scope;
  napi_value callback, receiver, error, thrown;

  (void)events;
  /* A negative status is -errno: no more frames will come, and epoll would report that for ever. */
  if (status < 0) (void)uv_poll_stop(poll);
  if (napi_open_handle_scope(device->env, &scope) != napi_ok) return;
  if (napi_get_reference_value(device->env, device->on_readable, &callback) == napi_ok &&
      napi_get_global(device->env, &receiver) == napi_ok &&
      napi_create_int32(device->env, status < 0 ? -status : 0, &error) == napi_ok &&
      napi_make_callback(device->env, device->context, receiver, callback, 1, &error, NULL) ==
          napi_pending_exception &&
      napi_get_and_clear_last_exception(device->env, &thrown) == napi_ok)
    (void)napi_fatal_exception(device->env, thrown);
  (void)napi_close_handle_scope(device->env, scope);
}

/* Takes over the descriptor, and closes it on failure. */
static napi_value device_open_js(napi_env env, napi_callback_info info) {
  size_t argc = 3;
  napi_value argv[3], object, name;
  napi_valuetype type;
  uv_loop_t *loop;
  int32_t fd;

  struct addon_device *device = calloc(1, sizeof *device);
  if (device == NULL) return addon_throw_errno(env, "deviceOpen", ENOMEM);
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 3 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok || fd < 0 ||
      !addon_octets(env, argv[1], &device->header, &device->header_capacity) ||
      napi_typeof(env, argv[2], &type) != napi_ok || type != napi_function) {
    free(device);
    napi_throw_type_error(env, NULL, "deviceOpen(fd, header, onReadable)");
    return NULL;
  }
  device->env = env;
  device->fd = -1;
  int error = -device_prepare(fd);
  if (error == 0 && napi_get_uv_event_loop(env, (struct uv_loop_s **)&loop) != napi_ok)
    error = ENOSYS;
  device->poll = error == 0 ? calloc(1, uv_handle_size(LOOP_POLL_HANDLE)) : NULL;
  if (error == 0 && device->poll == NULL) error = ENOMEM;
  if (error == 0) error = -uv_poll_init(loop, device->poll, fd);
  if (error != 0) {
    free(device->poll);
    free(device);
    close(fd);
    return addon_throw_errno(env, "deviceOpen", error);
  }
  uv_handle_set_data(device->poll, device);
  uv_unref(device->poll); /* flows and the link keep the program alive, not the device */
  /* From here on device_close() cleans up. */
  device->fd = fd;
  if (napi_create_string_utf8(env, "tunnel device", NAPI_AUTO_LENGTH, &name) == napi_ok &&
      napi_async_init(env, NULL, name, &device->context) == napi_ok &&
      napi_create_reference(env, argv[2], 1, &device->on_readable) == napi_ok &&
      napi_create_reference(env, argv[1], 1, &device->arena) == napi_ok &&
      napi_add_env_cleanup_hook(env, device_close, device) == napi_ok &&
      (error = -uv_poll_start(device->poll, LOOP_READABLE, device_ready)) == 0 &&
      napi_create_external(env, device, device_finalized, NULL, &object) == napi_ok)
    return object;
  device_finalized(env, device, NULL);
  return addon_throw_errno(env, "deviceOpen", error > 0 ? error : ENOMEM);
}

/*
 * The device in the first argument, as deviceOpen() returned it; NULL after throwing if it isn't
 * one.
 */
static struct addon_device *device_argument(napi_env env, napi_value value) {
  void *data = NULL;
  if (napi_get_value_external(env, value, &data) == napi_ok) return data;
  napi_throw_type_error(env, NULL, "the first argument must be a device");
  return NULL;
}

static napi_value device_read_js(napi_env env, napi_callback_info info) {
  size_t argc = 2, capacity;
  napi_value argv[2], result;
  uint8_t *into;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      !addon_octets(env, argv[1], &into, &capacity)) {
    napi_throw_type_error(env, NULL, "deviceRead(device, Uint8Array)");
    return NULL;
  }
  struct addon_device *device = device_argument(env, argv[0]);
  if (device == NULL) return NULL;
  const ssize_t length = device->fd < 0 ? -EBADF : device_read(device->fd, into, capacity);
  const struct iovec part = {.iov_base = into, .iov_len = length < 0 ? 0 : (size_t)length};
  if (length > 0 && !tap_frame(device, &part, 1, TAP_OUTBOUND)) return NULL;
  return napi_create_int32(env, (int32_t)length, &result) == napi_ok ? result : NULL;
}

static napi_value device_write_js(napi_env env, napi_callback_info info) {
  size_t argc = 2 + DEVICE_MAX_PARTS;
  napi_value argv[2 + DEVICE_MAX_PARTS], result;
  struct iovec parts[1 + DEVICE_MAX_PARTS];
  uint32_t header_length;
  int count = 1;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_get_value_uint32(env, argv[1], &header_length) != napi_ok) {
    napi_throw_type_error(env, NULL, "deviceWrite(device, headerLength, ...Uint8Array)");
    return NULL;
  }
  struct addon_device *device = device_argument(env, argv[0]);
  if (device == NULL) return NULL;
  if (argc > 2 + DEVICE_MAX_PARTS) argc = 2 + DEVICE_MAX_PARTS;
  for (size_t i = 2; i < argc; i++, count++) {
    uint8_t *start;
    size_t length;
    if (!addon_octets(env, argv[i], &start, &length)) {
      napi_throw_type_error(env, NULL, "deviceWrite(device, headerLength, ...Uint8Array)");
      return NULL;
    }
    parts[count] = (struct iovec){.iov_base = start, .iov_len = length};
  }
  if (header_length > device->header_capacity) {
    napi_throw_range_error(env, NULL, "the header is longer than its memory");
    return NULL;
  }
  parts[0] = (struct iovec){.iov_base = device->header, .iov_len = header_length};
  const int error = device->fd < 0 ? EBADF : -device_write(device->fd, parts, count);
  if (error == 0 && !tap_frame(device, parts, count, TAP_INBOUND)) return NULL;
  return napi_create_int32(env, error, &result) == napi_ok ? result : NULL;
}

static napi_value device_tap_js(napi_env env, napi_callback_info info) {
  size_t argc = 4;
  napi_value argv[4];
  napi_valuetype type;
  struct tap tap = {0};

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 4 ||
      !addon_octets(env, argv[1], &tap.memory, &tap.capacity) ||
      napi_get_value_bool(env, argv[2], &tap.whole) != napi_ok ||
      napi_typeof(env, argv[3], &type) != napi_ok || type != napi_function) {
    napi_throw_type_error(env, NULL, "deviceTap(device, memory, whole, onFull)");
    return NULL;
  }
  struct addon_device *device = device_argument(env, argv[0]);
  if (device == NULL || device->fd < 0) return NULL;
  tap_end(device);
  if (napi_create_reference(env, argv[1], 1, &device->tap_memory) == napi_ok &&
      napi_create_reference(env, argv[3], 1, &device->tap_full) == napi_ok)
    device->tap = tap;
  else
    tap_end(device);
  return NULL;
}

static napi_value device_tap_swap_js(napi_env env, napi_callback_info info) {
  size_t argc = 2, capacity = 0;
  napi_value argv[2], result;
  napi_valuetype type;
  uint8_t *memory = NULL;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_typeof(env, argv[1], &type) != napi_ok ||
      (type != napi_null && !addon_octets(env, argv[1], &memory, &capacity))) {
    napi_throw_type_error(env, NULL, "deviceTapSwap(device, memory or null)");
    return NULL;
  }
  struct addon_device *device = device_argument(env, argv[0]);
  if (device == NULL) return NULL;
  const uint32_t used = (uint32_t)device->tap.used;
  if (memory == NULL) {
    tap_end(device);
  } else if (device->tap.memory != NULL) {
    napi_ref before = device->tap_memory;
    if (napi_create_reference(env, argv[1], 1, &device->tap_memory) != napi_ok) {
      device->tap_memory = before;
      return addon_throw_errno(env, "deviceTapSwap", ENOMEM);
    }
    (void)napi_delete_reference(env, before);
    device->tap.memory = memory;
    device->tap.capacity = capacity;
    device->tap.used = 0;
  }
  return napi_create_uint32(env, used, &result) == napi_ok ? result : NULL;
}

static napi_value device_close_js(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1];
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1) return NULL;
  struct addon_device *device = device_argument(env, argv[0]);
  if (device != NULL) device_close(device);
  return NULL;
}

const struct addon_function addon_device_functions[] = {
    {"deviceOpen", device_open_js},
    {"deviceRead", device_read_js},
    {"deviceWrite", device_write_js},
    {"deviceTap", device_tap_js},
    {"deviceTapSwap", device_tap_swap_js},
    {"deviceClose", device_close_js},
    {NULL, NULL},
};
