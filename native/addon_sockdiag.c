/*
 * addon_sockdiag.c - whose a TCP socket of this network is (sock_diag(7)), for src/native/addon.ts.
 * One call is one question for exactly one connection: the kernel finds it by its addresses and
 * ports, without a walk through its table. It needs no privileges. The netlink socket is kept for
 * the next question, because making it costs more than asking; an unexpected answer ends it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addon.h"

struct question {
  struct nlmsghdr header;
  struct inet_diag_req_v2 body;
};

/* 0, or a negative errno: ENOENT if there is no such socket. */
static int converse(int fd, const struct question *question, struct inet_diag_msg *found) {
  _Alignas(struct nlmsghdr) uint8_t answer[4096];
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  const struct nlmsghdr *message = (const struct nlmsghdr *)answer;
  int error;

  while (sendto(fd, question, sizeof *question, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
    if (errno != EINTR) return -errno;
  ssize_t length;
  while ((length = recv(fd, answer, sizeof answer, MSG_DONTWAIT)) < 0)
    if (errno != EINTR) return -errno; /* the kernel has answered by now */
  if (!NLMSG_OK(message, (uint32_t)length) || message->nlmsg_seq != question->header.nlmsg_seq)
    return -EBADMSG;
  if (message->nlmsg_type == NLMSG_ERROR) {
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof error)) return -EBADMSG;
    memcpy(&error, NLMSG_DATA(message), sizeof error);
    return error < 0 ? error : -EBADMSG;
  }
  if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
      message->nlmsg_len < NLMSG_LENGTH(sizeof *found))
    return -EBADMSG;
  memcpy(found, NLMSG_DATA(message), sizeof *found);
  return 0;
}

static bool address(napi_env env, napi_value value, __be32 to[4], size_t *length) {
  uint8_t *octets;
  if (!addon_octets(env, value, &octets, length) || (*length != 4 && *length != 16)) return false;
  memcpy(to, octets, *length);
  return true;
}

static bool port(napi_env env, napi_value value, __be16 *to) {
  uint32_t number;
  if (napi_get_value_uint32(env, value, &number) != napi_ok || number > UINT16_MAX) return false;
  *to = htons((uint16_t)number);
  return true;
}

/* The addon is used on the main thread only. */
static int diagnosis = -1;
static uint32_t sequence;

/*
 * socketOwner(address, port, peerAddress, peerPort): [user, inode], or undefined if there is no
 * such socket; throws if the kernel can't tell.
 */
static napi_value socket_owner_js(napi_env env, napi_callback_info info) {
  size_t argc = 4, length, peer_length;
  napi_value argv[4], result = NULL, user, inode;
  struct question question = {
      .header = {.nlmsg_len = sizeof question,
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST,
                 .nlmsg_seq = ++sequence},
      .body = {.sdiag_protocol = IPPROTO_TCP, .idiag_states = UINT32_MAX}};
  struct inet_diag_sockid *id = &question.body.id;
  struct inet_diag_msg found;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 4 ||
      !address(env, argv[0], id->idiag_src, &length) || !port(env, argv[1], &id->idiag_sport) ||
      !address(env, argv[2], id->idiag_dst, &peer_length) || length != peer_length ||
      !port(env, argv[3], &id->idiag_dport)) {
    napi_throw_type_error(env, NULL, "socketOwner(address, port, peerAddress, peerPort)");
    return NULL;
  }
  question.body.sdiag_family = length == 4 ? AF_INET : AF_INET6;
  id->idiag_cookie[0] = id->idiag_cookie[1] = (uint32_t)INET_DIAG_NOCOOKIE;

  if (diagnosis < 0) diagnosis = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (diagnosis < 0) return addon_throw_errno(env, "socketOwner", errno);
  const int error = -converse(diagnosis, &question, &found);
  if (error == ENOENT) return NULL; /* undefined */
  if (error != 0) {
    close(diagnosis);
    diagnosis = -1;
    return addon_throw_errno(env, "socketOwner", error);
  }
  if (napi_create_array_with_length(env, 2, &result) != napi_ok ||
      napi_create_uint32(env, found.idiag_uid, &user) != napi_ok ||
      napi_create_uint32(env, found.idiag_inode, &inode) != napi_ok ||
      napi_set_element(env, result, 0, user) != napi_ok ||
      napi_set_element(env, result, 1, inode) != napi_ok)
    return addon_throw_errno(env, "socketOwner", ENOMEM);
  return result;
}

napi_status addon_sockdiag_register(napi_env env, napi_value exports) {
  return addon_function(env, exports, "socketOwner", socket_owner_js);
}
