/* addon_terminal.c - what a terminal is like right now (src/native/addon.ts). */
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "addon.h"

/*
 * Whether this process may draw: it is in the terminal's foreground (a background job that writes
 * is stopped, or disturbs the job that has the terminal), and nobody has switched off the echo or
 * the line mode, as programs do that ask for a password or have the whole screen.
 */
static bool may_draw(int fd) {
  struct termios modes;

  if (tcgetpgrp(fd) != getpgrp() || tcgetattr(fd, &modes) < 0) return false;
  return (modes.c_lflag & (ECHO | ICANON)) == (ECHO | ICANON);
}

static napi_value terminal_view_js(napi_env env, napi_callback_info info) {
  struct winsize size = {0};
  napi_value argv[1], result, columns, rows, drawable;
  size_t argc = 1;
  int32_t fd;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok) {
    napi_throw_type_error(env, NULL, "terminalView(a descriptor)");
    return NULL;
  }
  if (ioctl(fd, TIOCGWINSZ, &size) < 0) return NULL;
  if (napi_create_uint32(env, size.ws_col, &columns) != napi_ok ||
      napi_create_uint32(env, size.ws_row, &rows) != napi_ok ||
      napi_get_boolean(env, may_draw(fd), &drawable) != napi_ok ||
      napi_create_array_with_length(env, 3, &result) != napi_ok ||
      napi_set_element(env, result, 0, columns) != napi_ok ||
      napi_set_element(env, result, 1, rows) != napi_ok ||
      napi_set_element(env, result, 2, drawable) != napi_ok)
    return NULL;
  return result;
}

const struct addon_function addon_terminal_functions[] = {
    {"terminalView", terminal_view_js},
    {NULL, NULL},
};
