/*
 * addon_fuzzer.c - what the addon asks the kernel (addon_rtnetlink.c, addon_sockdiag.c), with
 * any octets as its answers. Node-API is not there, and nothing that is called here needs it.
 *
 * Input: an octet (odd: sock_diag; 3 modulo 4: several questions at once, as many as the rest of it
 * says), then datagrams, each with its length in two octets.
 */
#include <errno.h>
#include <sys/socket.h>

#include "addon.h"
#include "fuzz/check.h"
#include "fuzz/input.h"

static struct input input;

static ssize_t answer(void *buffer, size_t capacity) {
  if (input.left == 0) {
    errno = EAGAIN;
    return -1;
  }
  only_readable(buffer, capacity, capacity);
  const size_t wanted = input_u16(&input);
  const size_t length = input_take(&input, buffer, wanted < capacity ? wanted : capacity);
  only_readable(buffer, capacity, length);
  return (ssize_t)length;
}

static ssize_t fuzz_recvmsg(int fd, struct msghdr *header, int flags) {
  (void)fd, (void)flags;
  header->msg_flags = 0;
  return answer(header->msg_iov->iov_base, header->msg_iov->iov_len);
}

static ssize_t fuzz_recv(int fd, void *buffer, size_t capacity, int flags) {
  (void)fd, (void)flags;
  return answer(buffer, capacity);
}

static int fuzz_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                         const struct timespec *timeout) {
  unsigned got = 0;
  (void)fd, (void)flags, (void)timeout;
  for (; got < count && input.left > 0; got++) {
    const struct iovec *part = messages[got].msg_hdr.msg_iov;
    messages[got].msg_len = (unsigned)answer(part->iov_base, part->iov_len);
  }
  if (got == 0) errno = EAGAIN;
  return got == 0 ? -1 : (int)got;
}

static ssize_t fuzz_sendto(int fd, const void *message, size_t length, int flags,
                           const struct sockaddr *to, socklen_t size) {
  (void)fd, (void)message, (void)flags, (void)to, (void)size;
  return (ssize_t)length;
}

#define recvmsg fuzz_recvmsg
#define recv fuzz_recv
#define recvmmsg fuzz_recvmmsg
#define sendto fuzz_sendto
#include "addon_rtnetlink.c"
#define converse converse_sockdiag
#include "addon_sockdiag.c"
#undef converse
#undef recvmsg
#undef recv
#undef recvmmsg
#undef sendto

#define LIMIT 2048u

/* Of Node-API nothing is called. */
#pragma clang diagnostic ignored "-Wunused-parameter"
#define NOT_CALLED(name, ...) \
  napi_status name(__VA_ARGS__) { return napi_generic_failure; }
NOT_CALLED(napi_get_cb_info, napi_env env, napi_callback_info info, size_t *argc, napi_value *argv,
           napi_value *self, void **data)
NOT_CALLED(napi_get_value_uint32, napi_env env, napi_value value, uint32_t *result)
NOT_CALLED(napi_get_value_bool, napi_env env, napi_value value, bool *result)
NOT_CALLED(napi_create_buffer_copy, napi_env env, size_t length, const void *data, void **copy,
           napi_value *result)
NOT_CALLED(napi_create_array_with_length, napi_env env, size_t length, napi_value *result)
NOT_CALLED(napi_create_uint32, napi_env env, uint32_t value, napi_value *result)
NOT_CALLED(napi_set_element, napi_env env, napi_value object, uint32_t index, napi_value value)
NOT_CALLED(napi_throw_type_error, napi_env env, const char *code, const char *message)
bool addon_octets(napi_env env, napi_value value, uint8_t **data, size_t *length) { return false; }
napi_value addon_throw_errno(napi_env env, const char *call, int error) { return NULL; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input = (struct input){.at = data, .left = size};
  const uint8_t kind = input_u8(&input);
  if (kind % 4 == 3) {
    const struct sockdiag_question questions[SOCKDIAG_MOST] = {{.address_length = 4}};
    const uint32_t count = 1 + kind / 4 % SOCKDIAG_MOST;
    uint32_t *owners = malloc(2 * count * sizeof *owners); /* no more, so that ASan sees it */
    CHECK(owners != NULL);
    (void)ask_all(-1, questions, count, owners);
    free(owners);
    return 0;
  }
  if (kind % 2 == 1) {
    const struct question question = {.header = {.nlmsg_len = sizeof question}};
    struct inet_diag_msg found;
    if (converse_sockdiag(-1, &question, &found) == 0) CHECK(found.idiag_family <= UINT8_MAX);
    return 0;
  }
  const struct nlmsghdr request = {.nlmsg_len = sizeof request};
  struct answers answers = {.limit = LIMIT};
  (void)converse(-1, &request, &answers);
  CHECK(answers.length <= LIMIT);
  /* What JavaScript gets: whole messages, to the end. */
  size_t at = 0;
  while (at < answers.length) {
    const struct nlmsghdr *message = (const struct nlmsghdr *)(answers.data + at);
    CHECK(answers.length - at >= sizeof *message && message->nlmsg_len >= sizeof *message);
    at += NLMSG_ALIGN(message->nlmsg_len);
  }
  CHECK(at == answers.length);
  free(answers.data);
  return 0;
}
