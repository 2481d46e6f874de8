/*
 * addon_link.c - makes link.c available to JavaScript (src/native/addon.ts).
 *
 * The link's thread hands each message to the JavaScript thread through a threadsafe function. A
 * struct addon_link lives until both its holders have released it: the JavaScript object and the
 * threadsafe function. Both are released only on the JavaScript thread. The link is closed by
 * linkClose(), by the collection of the object, or by the end of the environment, whichever comes
 * first. Messages that have not been delivered by then are dropped, and their descriptors closed.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "addon.h"
#include "link.h"

struct addon_link {
  struct helper_link *link; /* NULL: closed */
  napi_threadsafe_function deliver;
  napi_env env;
  int holders;
};

struct link_message {
  int fd, error;
  size_t length;
  bool last;
  uint8_t bytes[];
};

/* Distinguishes this object from others that wrap something. */
static const napi_type_tag link_tag = {0x7e1c43b02a5f4d16, 0x9d0b6f8e31c7a254};

static void link_release(struct addon_link *holder) {
  if (--holder->holders == 0) free(holder);
}

static void link_close(void *data);

/* Runs on the link's thread. */
static void link_message_received(void *context, const uint8_t *message, size_t length, int fd,
                                  int error) {
  struct addon_link *holder = context;
  struct link_message *copy = malloc(sizeof *copy + length);

  if (copy != NULL) {
    *copy =
        (struct link_message){.fd = fd, .error = error, .length = length, .last = message == NULL};
    if (length > 0) memcpy(copy->bytes, message, length);
    if (napi_call_threadsafe_function(holder->deliver, copy, napi_tsfn_nonblocking) == napi_ok)
      return;
  }
  /* Without memory the message is lost, and the program waits for it until its time limit. */
  free(copy);
  if (fd >= 0) close(fd);
}

/* Calls onMessage. `env` is NULL if the environment is ending. */
static void link_message_deliver(napi_env env, napi_value callback, void *context, void *data) {
  struct addon_link *holder = context;
  struct link_message *message = data;
  napi_value arguments[3], array_buffer;
  void *bytes;

  if (env == NULL || callback == NULL || holder->link == NULL) {
    if (message->fd >= 0) close(message->fd);
    free(message);
    return;
  }
  /* Nothing more comes, so the link no longer needs to keep the process running. */
  if (message->last) (void)napi_unref_threadsafe_function(env, holder->deliver);
  bool ready = napi_create_int32(env, message->fd, &arguments[1]) == napi_ok &&
               napi_create_int32(env, message->error, &arguments[2]) == napi_ok;
  if (ready && message->last) {
    ready = napi_get_null(env, &arguments[0]) == napi_ok;
  } else if (ready) {
    ready = napi_create_arraybuffer(env, message->length, &bytes, &array_buffer) == napi_ok &&
            napi_create_typedarray(env, napi_uint8_array, message->length, array_buffer, 0,
                                   &arguments[0]) == napi_ok;
    if (ready) memcpy(bytes, message->bytes, message->length);
  }
  if (ready)
    addon_callback(env, callback, 3, arguments);
  else if (message->fd >= 0)
    close(message->fd);
  free(message);
}

static void link_delivery_finalized(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  link_release(data);
}

static void link_object_finalized(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  link_close(data);
  link_release(data);
}

/* Also used as the environment's clean-up hook. */
static void link_close(void *data) {
  struct addon_link *holder = data;

  if (holder->link == NULL) return;
  helper_link_close(holder->link);
  holder->link = NULL;
  (void)napi_remove_env_cleanup_hook(holder->env, link_close, holder);
  (void)napi_release_threadsafe_function(holder->deliver, napi_tsfn_abort);
}

/* Opens the link of a new holder. Returns NULL and sets `*error` (an errno) if it can't. */
typedef struct helper_link *(*link_opener)(struct addon_link *holder, void *argument, int *error);

static struct helper_link *open_listener(struct addon_link *holder, void *path, int *error) {
  return helper_link_listen(path, link_message_received, holder, error);
}

static struct helper_link *open_connection(struct addon_link *holder, void *path, int *error) {
  return helper_link_connect(path, link_message_received, holder, error);
}

static struct helper_link *open_pair(struct addon_link *holder, void *other, int *error) {
  return helper_link_pair(other, link_message_received, holder, error);
}

static struct helper_link *open_adopted(struct addon_link *holder, void *socket, int *error) {
  return helper_link_adopt(*(int32_t *)socket, link_message_received, holder, error);
}

/* Makes the JavaScript object of a link that `opener` opens; NULL after throwing. */
static napi_value link_create(napi_env env, napi_value on_message, link_opener opener,
                              void *argument) {
  napi_value object, name;
  int error = ENOMEM;

  struct addon_link *holder = calloc(1, sizeof *holder);
  if (holder == NULL) return addon_throw_errno(env, "link", ENOMEM);
  holder->env = env;
  if (napi_create_string_utf8(env, "tunnel helper link", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_object(env, &object) != napi_ok ||
      napi_type_tag_object(env, object, &link_tag) != napi_ok ||
      napi_create_threadsafe_function(env, on_message, NULL, name, 0, 1, holder,
                                      link_delivery_finalized, holder, link_message_deliver,
                                      &holder->deliver) != napi_ok) {
    free(holder);
    return addon_throw_errno(env, "link", ENOMEM);
  }
  holder->holders = 1;

  if (napi_wrap(env, object, holder, link_object_finalized, NULL, NULL) == napi_ok) {
    holder->holders++;
    holder->link = opener(holder, argument, &error);
    if (holder->link != NULL) {
      (void)napi_add_env_cleanup_hook(env, link_close, holder);
      return object;
    }
  }
  (void)napi_release_threadsafe_function(holder->deliver, napi_tsfn_abort);
  return addon_throw_errno(env, "link", error);
}

/* A link at a path: (path, onMessage). */
static napi_value link_at_path(napi_env env, napi_callback_info info, link_opener opener) {
  char path[sizeof((struct sockaddr_un *)0)->sun_path];
  size_t argc = 2, length;
  napi_valuetype type;
  napi_value argv[2];

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_typeof(env, argv[1], &type) != napi_ok || type != napi_function ||
      napi_get_value_string_utf8(env, argv[0], NULL, 0, &length) != napi_ok) {
    napi_throw_type_error(env, NULL, "linkListen and linkConnect: (path, onMessage)");
    return NULL;
  }
  if (length >= sizeof path) return addon_throw_errno(env, "link", ENAMETOOLONG);
  if (napi_get_value_string_utf8(env, argv[0], path, sizeof path, &length) != napi_ok)
    return addon_throw_errno(env, "link", EINVAL);
  return link_create(env, argv[1], opener, path);
}

static napi_value link_listen_js(napi_env env, napi_callback_info info) {
  return link_at_path(env, info, open_listener);
}

static napi_value link_connect_js(napi_env env, napi_callback_info info) {
  return link_at_path(env, info, open_connection);
}

static napi_value link_pair_js(napi_env env, napi_callback_info info) {
  napi_value argv[1], result, object, fd;
  napi_valuetype type;
  size_t argc = 1;
  int other;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_typeof(env, argv[0], &type) != napi_ok || type != napi_function) {
    napi_throw_type_error(env, NULL, "linkPair(onMessage)");
    return NULL;
  }
  object = link_create(env, argv[0], open_pair, &other);
  if (object == NULL) return NULL;
  if (napi_create_object(env, &result) == napi_ok &&
      napi_create_int32(env, other, &fd) == napi_ok &&
      napi_set_named_property(env, result, "link", object) == napi_ok &&
      napi_set_named_property(env, result, "fd", fd) == napi_ok)
    return result;
  close(other);
  return NULL;
}

static napi_value link_adopt_js(napi_env env, napi_callback_info info) {
  napi_valuetype type;
  napi_value argv[2];
  size_t argc = 2;
  int32_t socket;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_get_value_int32(env, argv[0], &socket) != napi_ok || socket < 0 ||
      napi_typeof(env, argv[1], &type) != napi_ok || type != napi_function) {
    napi_throw_type_error(env, NULL, "linkAdopt(socket, onMessage)");
    return NULL;
  }
  return link_create(env, argv[1], open_adopted, &socket);
}

/* The link in the first argument; NULL after throwing if it isn't one. */
static struct addon_link *link_argument(napi_env env, napi_callback_info info, napi_value *argv,
                                        size_t wanted) {
  size_t argc = wanted;
  bool tagged = false;
  void *data = NULL;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) == napi_ok && argc >= wanted &&
      napi_check_object_type_tag(env, argv[0], &link_tag, &tagged) == napi_ok && tagged &&
      napi_unwrap(env, argv[0], &data) == napi_ok)
    return data;
  napi_throw_type_error(env, NULL, "the first argument must be a link");
  return NULL;
}

static napi_value link_send_js(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  napi_typedarray_type type;
  size_t length;
  void *bytes;

  struct addon_link *holder = link_argument(env, info, argv, 2);
  if (holder == NULL) return NULL;
  if (napi_get_typedarray_info(env, argv[1], &type, &length, &bytes, NULL, NULL) != napi_ok ||
      type != napi_uint8_array) {
    napi_throw_type_error(env, NULL, "linkSend(link, Uint8Array)");
    return NULL;
  }
  const int error = holder->link == NULL ? EBADF : helper_link_send(holder->link, bytes, length);
  return error == 0 ? NULL : addon_throw_errno(env, "linkSend", error);
}

static napi_value link_shutdown_js(napi_env env, napi_callback_info info) {
  napi_value argv[1];

  struct addon_link *holder = link_argument(env, info, argv, 1);
  if (holder == NULL) return NULL;
  const int error = holder->link == NULL ? EBADF : helper_link_shutdown(holder->link);
  return error == 0 ? NULL : addon_throw_errno(env, "linkShutdown", error);
}

static napi_value link_close_js(napi_env env, napi_callback_info info) {
  napi_value argv[1];

  struct addon_link *holder = link_argument(env, info, argv, 1);
  if (holder != NULL) link_close(holder);
  return NULL;
}

const struct addon_function addon_link_functions[] = {
    {"linkListen", link_listen_js},
    {"linkConnect", link_connect_js},
    {"linkPair", link_pair_js},
    {"linkAdopt", link_adopt_js},
    {"linkSend", link_send_js},
    {"linkShutdown", link_shutdown_js},
    {"linkClose", link_close_js},
    {NULL, NULL},
};
