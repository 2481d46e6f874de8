/*
 * addon_sockdiag.c - whose a TCP socket of this network is (sock_diag(7)), for src/native/addon.ts.
 * A question is for exactly one connection: the kernel finds it by its addresses and ports, without
 * a walk through its table. It needs no privileges. The netlink socket is kept for the next
 * question, because making it costs more than asking; an unexpected answer ends it.
 *
 * socketOwners() asks many questions with two system calls. Each then costs the kernel half of what
 * it costs alone.
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
#include "sockdiag.h"

struct question {
  struct nlmsghdr header;
  struct inet_diag_req_v2 body;
};

/* The kernel has no larger ones. */
enum { MAX_ERRNO = 4095 };

/* What the kernel says to one question: 0, or a negative errno. */
static int answered(const struct nlmsghdr *message, size_t length, struct inet_diag_msg *found) {
  int error;

  if (!NLMSG_OK(message, (uint32_t)length)) return -EBADMSG;
  if (message->nlmsg_type == NLMSG_ERROR) {
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof error)) return -EBADMSG;
    memcpy(&error, NLMSG_DATA(message), sizeof error);
    return error < 0 && error >= -MAX_ERRNO ? error : -EBADMSG;
  }
  if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
      message->nlmsg_len < NLMSG_LENGTH(sizeof *found))
    return -EBADMSG;
  memcpy(found, NLMSG_DATA(message), sizeof *found);
  return 0;
}

/* 0, or a negative errno: ENOENT if there is no such socket. */
static int converse(int fd, const struct question *question, struct inet_diag_msg *found) {
  _Alignas(struct nlmsghdr) uint8_t answer[4096];
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  const struct nlmsghdr *message = (const struct nlmsghdr *)answer;

  while (sendto(fd, question, sizeof *question, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
    if (errno != EINTR) return -errno;
  ssize_t length;
  while ((length = recv(fd, answer, sizeof answer, MSG_DONTWAIT)) < 0)
    if (errno != EINTR) return -errno; /* the kernel has answered by now */
  if (length >= (ssize_t)sizeof *message && message->nlmsg_seq != question->header.nlmsg_seq)
    return -EBADMSG;
  return answered(message, (size_t)length, found);
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

/* As socketOwners() gets them. */
enum { MOST = SOCKDIAG_MOST, QUESTION_OCTETS = 40, ANSWER_OCTETS = 512 };
_Static_assert(sizeof(struct sockdiag_question) == QUESTION_OCTETS, "there is no padding");

/*
 * Asks `count` questions at once. `owners` gets two numbers for each: user and inode, or zeros if
 * there is no such socket. Returns 0, or an errno if the kernel can't tell; then it has none.
 */
static int ask_all(int fd, const struct sockdiag_question *packed, uint32_t count,
                   uint32_t *owners) {
  static struct question questions[MOST];
  static _Alignas(struct nlmsghdr) uint8_t answers[MOST][ANSWER_OCTETS];
  struct iovec places[MOST];
  struct mmsghdr messages[MOST];
  const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  const uint32_t first = sequence + 1;

  memset(questions, 0, count * sizeof *questions);
  memset(messages, 0, count * sizeof *messages);
  memset(owners, 0, 2 * count * sizeof *owners);
  for (uint32_t i = 0; i < count; i++) {
    struct inet_diag_sockid *id = &questions[i].body.id;
    const size_t length = packed[i].address_length == 4 ? 4 : 16;
    questions[i].header = (struct nlmsghdr){.nlmsg_len = sizeof *questions,
                                            .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                                            .nlmsg_flags = NLM_F_REQUEST,
                                            .nlmsg_seq = ++sequence};
    questions[i].body.sdiag_family = length == 4 ? AF_INET : AF_INET6;
    questions[i].body.sdiag_protocol = IPPROTO_TCP;
    questions[i].body.idiag_states = UINT32_MAX;
    memcpy(id->idiag_src, packed[i].address, length);
    memcpy(id->idiag_dst, packed[i].peer, length);
    id->idiag_sport = packed[i].port;
    id->idiag_dport = packed[i].peer_port;
    id->idiag_cookie[0] = id->idiag_cookie[1] = (uint32_t)INET_DIAG_NOCOOKIE;
    places[i] = (struct iovec){.iov_base = answers[i], .iov_len = ANSWER_OCTETS};
    messages[i].msg_hdr.msg_iov = &places[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  while (sendto(fd, questions, count * sizeof *questions, 0, (const struct sockaddr *)&kernel,
                sizeof kernel) < 0)
    if (errno != EINTR) return errno;
  for (uint32_t got = 0; got < count;) {
    const int more = recvmmsg(fd, messages, count - got, MSG_DONTWAIT, NULL);
    if (more < 0 && errno == EINTR) continue;
    if (more <= 0) return more < 0 ? errno : EBADMSG; /* the kernel has answered by now */
    for (int i = 0; i < more; i++, got++) {
      const struct nlmsghdr *message = (const struct nlmsghdr *)answers[i];
      struct inet_diag_msg found;
      const int error = answered(message, messages[i].msg_len, &found);
      if (error == -ENOENT) continue;
      if (error != 0) return -error;
      const uint32_t index = message->nlmsg_seq - first;
      if (index >= count) return EBADMSG;
      owners[2 * index] = found.idiag_uid;
      owners[2 * index + 1] = found.idiag_inode;
    }
  }
  return 0;
}

int sockdiag_owners(const struct sockdiag_question *questions, uint32_t count, uint32_t *owners) {
  if (diagnosis < 0) diagnosis = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (diagnosis < 0) return errno;
  const int error = ask_all(diagnosis, questions, count, owners);
  if (error == 0) return 0;
  close(diagnosis);
  diagnosis = -1;
  return error;
}

/* socketOwners(questions, count, owners): throws if the kernel can't tell. */
static napi_value socket_owners_js(napi_env env, napi_callback_info info) {
  size_t argc = 3, length, room;
  napi_value argv[3];
  uint8_t *questions, *owners;
  uint32_t count;

  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 3 ||
      !addon_octets(env, argv[0], &questions, &length) ||
      napi_get_value_uint32(env, argv[1], &count) != napi_ok || count == 0 || count > MOST ||
      length < count * QUESTION_OCTETS || !addon_octets(env, argv[2], &owners, &room) ||
      room < 2 * count * sizeof(uint32_t) || (uintptr_t)owners % sizeof(uint32_t) != 0 ||
      (uintptr_t)questions % _Alignof(struct sockdiag_question) != 0) {
    napi_throw_type_error(env, NULL, "socketOwners(questions, count, owners)");
    return NULL;
  }
  const int error = sockdiag_owners((const struct sockdiag_question *)questions, count,
                                    (uint32_t *)owners);
  return error == 0 ? NULL : addon_throw_errno(env, "socketOwners", error);
}

const struct addon_function addon_sockdiag_functions[] = {
    {"socketOwner", socket_owner_js},
    {"socketOwners", socket_owners_js},
    {NULL, NULL},
};
