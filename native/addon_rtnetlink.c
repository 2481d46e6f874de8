/*
 * addon_rtnetlink.c - asks the kernel about routes, rules and addresses (rtnetlink(7)), for
 * src/native/addon.ts. One call is one conversation on a socket of its own: a request of the kind
 * RTM_GET*, and all its answers, which JavaScript parses. Nothing can be changed by it, and it
 * needs no privileges.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "addon.h"
#include "netlink_message.h"

#define REQUEST_BODY 256u
/* The kernel never fills more than this at once. */
#define PIECE 32768u
/* How often a dump that changes interrupt is tried before it is taken as it is. */
#define DUMP_ATTEMPTS 8
/* The kernel answers at once. */
#define PATIENCE_SECONDS 5

/* RTM_GET* are the third of each four types. */
static bool only_asks(uint32_t type) {
  return type >= RTM_BASE && type <= RTM_MAX && type % 4 == 2;
}

struct answers {
  uint8_t *data;
  size_t length, limit;
  bool torn; /* changes interrupted the dump */
};

static int answers_add(struct answers *answers, const struct nlmsghdr *message) {
  const size_t size = NLMSG_ALIGN(message->nlmsg_len);
  if (size > answers->limit - answers->length) return -EMSGSIZE;
  uint8_t *data = realloc(answers->data, answers->length + size);
  if (data == NULL) return -ENOMEM;
  memset(data + answers->length, 0, size);
  memcpy(data + answers->length, message, message->nlmsg_len);
  answers->data = data;
  answers->length += size;
  return 0;
}

/* Takes the messages of one datagram. Returns 1 if more must come, 0 at the end, or an errno. */
static int answers_take(struct answers *answers, const uint8_t *piece, uint32_t left) {
  for (const struct nlmsghdr *message = (const struct nlmsghdr *)piece; NLMSG_OK(message, left);
       message = netlink_message_next(message, &left)) {
    if ((message->nlmsg_flags & NLM_F_DUMP_INTR) != 0) answers->torn = true;
    if (message->nlmsg_type == NLMSG_DONE) return 0;
    if (message->nlmsg_type == NLMSG_ERROR) {
      int error;
      if (message->nlmsg_len < NLMSG_LENGTH(sizeof error)) return -EBADMSG;
      memcpy(&error, NLMSG_DATA(message), sizeof error);
      return error > 0 ? -EBADMSG : error;
    }
    const int result = answers_add(answers, message);
    if (result < 0) return result;
  }
  return 1;
}

static int converse(int fd, const struct nlmsghdr *request, struct answers *answers) {
  _Alignas(struct nlmsghdr) uint8_t piece[PIECE];
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

  answers->length = 0;
  answers->torn = false;
  while (sendto(fd, request, request->nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
    if (errno != EINTR) return -errno;
  for (;;) {
    struct sockaddr_nl sender = {0};
    struct iovec part = {.iov_base = piece, .iov_len = sizeof piece};
    struct msghdr header = {
        .msg_name = &sender, .msg_namelen = sizeof sender, .msg_iov = &part, .msg_iovlen = 1};
    const ssize_t length = recvmsg(fd, &header, 0);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return -errno;
    if (sender.nl_pid != 0) continue; /* not the kernel */
    if ((header.msg_flags & MSG_TRUNC) != 0) return -EMSGSIZE;
    const int result = answers_take(answers, piece, (uint32_t)length);
    if (result <= 0) return result;
  }
}

/* 0, or a negative errno: the kernel's own answer, or of the conversation. */
static int ask(const struct nlmsghdr *request, struct answers *answers) {
  const struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -errno;
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  int result = 0;
  for (int attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
    result = converse(fd, request, answers);
    if (result < 0 || !answers->torn) break;
  }
  close(fd);
  return result;
}

/* rtnetlinkAsk(type, dump, body, limit): the answers with their headers, or it throws. */
static napi_value rtnetlink_ask_js(napi_env env, napi_callback_info info) {
  size_t argc = 4, length;
  napi_value argv[4], result;
  uint32_t type, limit;
  bool dump;
  uint8_t *body;
  struct {
    _Alignas(struct nlmsghdr) uint8_t data[NLMSG_HDRLEN + REQUEST_BODY];
  } request = {0};

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 4 ||
      napi_get_value_uint32(env, argv[0], &type) != napi_ok || !only_asks(type) ||
      napi_get_value_bool(env, argv[1], &dump) != napi_ok ||
      !addon_octets(env, argv[2], &body, &length) || length > REQUEST_BODY ||
      napi_get_value_uint32(env, argv[3], &limit) != napi_ok) {
    napi_throw_type_error(env, NULL, "rtnetlinkAsk(RTM_GET*, dump, body, limit)");
    return NULL;
  }
  struct nlmsghdr *header = (struct nlmsghdr *)request.data;
  header->nlmsg_type = (uint16_t)type;
  header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | (dump ? NLM_F_DUMP : NLM_F_ACK));
  header->nlmsg_seq = 1;
  header->nlmsg_len = (uint32_t)NLMSG_LENGTH(length);
  memcpy(NLMSG_DATA(header), body, length);

  struct answers answers = {.limit = limit};
  void *copy;
  const int error = -ask(header, &answers);
  if (error != 0)
    result = addon_throw_errno(env, "rtnetlinkAsk", error);
  else if (napi_create_buffer_copy(env, answers.length, answers.data, &copy, &result) != napi_ok)
    result = addon_throw_errno(env, "rtnetlinkAsk", ENOMEM);
  free(answers.data);
  return result;
}

const struct addon_function addon_rtnetlink_functions[] = {
    {"rtnetlinkAsk", rtnetlink_ask_js},
    {NULL, NULL},
};
