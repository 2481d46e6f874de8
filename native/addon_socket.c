/* addon_socket.c - socket options that Node has no calls for (src/native/addon.ts). */
#include <errno.h>
#include <linux/tcp.h> /* the C library's own struct tcp_info may be older than the kernel's */
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "addon.h"

static napi_value socket_on_device(napi_env env, napi_callback_info info, int type) {
  size_t argc = 2, length;
  napi_value argv[2], result;
  int32_t family;
  char device[IFNAMSIZ];
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_get_value_int32(env, argv[0], &family) != napi_ok || (family != 4 && family != 6) ||
      napi_get_value_string_utf8(env, argv[1], device, sizeof device, &length) != napi_ok ||
      length == 0 || length >= sizeof device - 1) {
    napi_throw_type_error(env, NULL, "a family (4 or 6) and a device are needed");
    return NULL;
  }
  const int fd = socket(family == 4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return addon_throw_errno(env, "socket", errno);
  /* Allowed without privileges since Linux 5.7, if the socket isn't bound to a device yet. */
  if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)length) < 0) {
    const int error = errno;
    close(fd);
    return addon_throw_errno(env, device, error);
  }
  if (napi_create_int32(env, fd, &result) != napi_ok) {
    close(fd);
    return NULL;
  }
  return result;
}

static napi_value socket_on_device_js(napi_env env, napi_callback_info info) {
  return socket_on_device(env, info, SOCK_STREAM);
}

static napi_value datagram_socket_on_device_js(napi_env env, napi_callback_info info) {
  return socket_on_device(env, info, SOCK_DGRAM);
}

static napi_value datagram_socket_to_js(napi_env env, napi_callback_info info) {
  size_t argc = 1, length;
  napi_value argv[1], result;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_string_utf8(env, argv[0], address.sun_path, sizeof address.sun_path,
                                 &length) != napi_ok ||
      length == 0 || length >= sizeof address.sun_path - 1) {
    napi_throw_type_error(env, NULL, "the path of a Unix socket is needed");
    return NULL;
  }
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return addon_throw_errno(env, "socket", errno);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
    const int error = errno;
    close(fd);
    return addon_throw_errno(env, address.sun_path, error);
  }
  if (napi_create_int32(env, fd, &result) != napi_ok) {
    close(fd);
    return NULL;
  }
  return result;
}

static napi_value set_tcp_option(napi_env env, napi_callback_info info, const char *name,
                                 int option) {
  size_t argc = 2;
  napi_value argv[2];
  int32_t fd;
  uint32_t value;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok ||
      napi_get_value_uint32(env, argv[1], &value) != napi_ok) {
    napi_throw_type_error(env, NULL, "a descriptor and a number are needed");
    return NULL;
  }
  if (setsockopt(fd, IPPROTO_TCP, option, &value, sizeof value) < 0)
    return addon_throw_errno(env, name, errno);
  return NULL;
}

static napi_value set_tcp_user_timeout_js(napi_env env, napi_callback_info info) {
  return set_tcp_option(env, info, "setTcpUserTimeout", TCP_USER_TIMEOUT);
}

static napi_value set_tcp_unsent_limit_js(napi_env env, napi_callback_info info) {
  return set_tcp_option(env, info, "setTcpUnsentLimit", TCP_NOTSENT_LOWAT);
}

static napi_value set_tcp_quick_ack_js(napi_env env, napi_callback_info info) {
  return set_tcp_option(env, info, "setTcpQuickAck", TCP_QUICKACK);
}

static napi_value shutdown_output_js(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1];
  int32_t fd;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok) {
    napi_throw_type_error(env, NULL, "a descriptor is needed");
    return NULL;
  }
  /* ENOTCONN: the peer has gone, and nothing is left to be ended. */
  if (shutdown(fd, SHUT_WR) < 0 && errno != ENOTCONN)
    return addon_throw_errno(env, "shutdown", errno);
  return NULL;
}

static napi_value tcp_acknowledged_js(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1], result;
  int32_t fd;
  struct tcp_info known;
  socklen_t size = sizeof known;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok) {
    napi_throw_type_error(env, NULL, "a descriptor is needed");
    return NULL;
  }
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &known, &size) < 0)
    return addon_throw_errno(env, "tcpAcknowledged", errno);
  /* Before Linux 4.1 the kernel doesn't tell. */
  if (size < offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof known.tcpi_bytes_acked)
    return addon_throw_errno(env, "tcpAcknowledged", ENOPROTOOPT);
  double bytes = (double)known.tcpi_bytes_acked;
  return napi_create_double(env, bytes, &result) == napi_ok ? result : NULL;
}

/* The process that listens at the other end of a Unix socket, as the kernel has noted it. */
static napi_value socket_peer_js(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1], result, user, process;
  int32_t fd;
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok) {
    napi_throw_type_error(env, NULL, "a descriptor is needed");
    return NULL;
  }
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
    return addon_throw_errno(env, "socketPeer", errno);
  if (napi_create_uint32(env, peer.uid, &user) != napi_ok ||
      napi_create_int32(env, peer.pid, &process) != napi_ok ||
      napi_create_array_with_length(env, 2, &result) != napi_ok ||
      napi_set_element(env, result, 0, user) != napi_ok ||
      napi_set_element(env, result, 1, process) != napi_ok)
    return NULL;
  return result;
}

const struct addon_function addon_socket_functions[] = {
    {"socketOnDevice", socket_on_device_js},
    {"datagramSocketOnDevice", datagram_socket_on_device_js},
    {"datagramSocketTo", datagram_socket_to_js},
    {"setTcpUserTimeout", set_tcp_user_timeout_js},
    {"setTcpUnsentLimit", set_tcp_unsent_limit_js},
    {"setTcpQuickAck", set_tcp_quick_ack_js},
    {"tcpAcknowledged", tcp_acknowledged_js},
    {"shutdownOutput", shutdown_output_js},
    {"socketPeer", socket_peer_js},
    {NULL, NULL},
};
