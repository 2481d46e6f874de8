/*
 * launcher_fuzzer.c - the launcher's messages and words: SETUP and GO, and /proc/PID/cmdline and
 * environ of the program. Nothing is executed, and no namespace is made.
 *
 * Input: an octet for the kind (0 SETUP, 1 GO, 2 words, 3 the descriptor's number); SETUP and GO
 * have a header of their own with the kind's bit 0x80, and else one that is right.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz/check.h"
#include "fuzz/input.h"

static struct input input;
static size_t files_left;
static int fuzz_open(const char *path, int flags);
static ssize_t fuzz_read(int fd, void *buffer, size_t capacity);
static int fuzz_putenv(char *word);
static int fuzz_unsetenv(const char *word);
static void *fuzz_calloc(size_t count, size_t size);
static void *fuzz_realloc(void *memory, size_t size);
static void fuzz_free(void *memory);
int launcher_main(int argc, char **argv);
#define main launcher_main
#define open fuzz_open
#define read fuzz_read
#define putenv fuzz_putenv
#define unsetenv fuzz_unsetenv
#define calloc fuzz_calloc
#define realloc fuzz_realloc
#define free fuzz_free
#include "launcher/main.c"
#include "launcher/words.c"
#undef main
#undef open
#undef read
#undef putenv
#undef unsetenv
#undef calloc
#undef realloc
#undef free

enum { SETUP, GO, WORDS, NUMBER, KINDS };

/* The environment keeps its memory until execve(2), which doesn't come here. */
static void *words_memory[8];
static size_t words_memory_count;

static void *keep(void *memory) {
  CHECK(memory != NULL && words_memory_count < sizeof words_memory / sizeof *words_memory);
  return words_memory[words_memory_count++] = memory;
}

static void *fuzz_calloc(size_t count, size_t size) { return keep(calloc(count, size)); }

static void fuzz_free(void *memory) {
  for (size_t i = 0; i < words_memory_count; i++)
    if (words_memory[i] == memory) words_memory[i] = NULL;
  free(memory);
}

static void *fuzz_realloc(void *memory, size_t size) {
  void *larger = malloc(size);
  CHECK(memory == NULL); /* the inputs are shorter than the first piece */
  return keep(larger);
}

static void free_words(void) {
  while (words_memory_count > 0) free(words_memory[--words_memory_count]);
}

/* Two files, of an input divided in the middle; no more than 7 octets at once. */
static int fuzz_open(const char *path, int flags) {
  (void)path, (void)flags;
  files_left = input_u16(&input);
  return 1000;
}

static ssize_t fuzz_read(int fd, void *buffer, size_t capacity) {
  (void)fd;
  size_t most = files_left < 7 ? files_left : 7;
  const size_t taken = input_take(&input, buffer, most < capacity ? most : capacity);
  files_left -= taken;
  return (ssize_t)taken;
}

static int fuzz_putenv(char *word) {
  CHECK(strchr(word, '=') != NULL);
  return 0;
}

static int fuzz_unsetenv(const char *word) {
  errno = EINVAL;
  return *word == '\0' ? -1 : 0;
}

/* What the launcher does after SETUP is not called. */
bool user_find(struct user *user, struct fault *fault) { return user == NULL && fault == NULL; }
bool user_become(const struct user *user, struct fault *fault) {
  return user == NULL && fault == NULL;
}
bool user_drop_bounding_set(struct fault *fault) { return fault == NULL; }
bool command_unprivilege(struct fault *fault) { return fault == NULL; }
bool namespaces_is_privileged(void) { return false; }
bool namespaces_enter(struct fault *fault) { return fault == NULL; }
bool network_make(const struct launcher_setup *setup, gid_t gid, struct network *network,
                  struct fault *fault) {
  return setup == NULL && gid == 0 && network == NULL && fault == NULL;
}
bool mounts_make(const char *resolv_conf, size_t length, bool isolate, bool *replaced,
                 struct fault *fault) {
  return resolv_conf == NULL && length == 0 && isolate && replaced == NULL && fault == NULL;
}
void command_execute(char **argv, uint32_t descriptors, struct fault *fault) {
  (void)argv, (void)descriptors, (void)fault;
}
int command_failure_status(const struct fault *fault) { return fault->step; }

int fd_send(int socket, const void *message, size_t length, int fd, int flags) {
  (void)socket, (void)message, (void)length, (void)fd, (void)flags;
  return 0;
}

/* A header that is right, unless the input has its own. */
static bool own_header;
static uint16_t type;

ssize_t fd_receive(int socket, void *buffer, size_t capacity, int *fd) {
  const size_t header = own_header ? 0 : sizeof(struct launcher_header);
  (void)socket;
  *fd = -1;
  only_readable(buffer, capacity, capacity);
  const size_t length = header + input_take(&input, (uint8_t *)buffer + header, capacity - header);
  if (input.left > 0) return -EMSGSIZE;
  const struct launcher_header right = header_of(type, length);
  if (!own_header) memcpy(buffer, &right, sizeof right);
  only_readable(buffer, capacity, length);
  return (ssize_t)length;
}

static void check_fault(const struct fault *fault) {
  CHECK(strnlen(fault->detail, sizeof fault->detail) < sizeof fault->detail);
  for (const char *at = fault->detail; *at != '\0'; at++) CHECK(*at >= 0x20 && *at < 0x7f);
}

static void read_setup(void) {
  struct fault fault;
  type = LAUNCHER_SETUP;
  if (!setup_read(3, &fault)) {
    check_fault(&fault);
    return;
  }
  CHECK(request.setup.resolv_conf_length <= LAUNCHER_MAX_RESOLV_CONF);
  uint32_t sum = 0;
  for (size_t i = 0; i < request.setup.resolv_conf_length; i++)
    sum += (uint8_t)request.resolv_conf[i];
  CHECK(sum <= 255 * LAUNCHER_MAX_RESOLV_CONF);
}

static void read_go(void) {
  struct fault fault;
  type = LAUNCHER_GO;
  const ssize_t length = message_read(3, &answer, sizeof answer);
  if (!header_is(&answer.go.header, LAUNCHER_GO, length)) return;
  if (!words_change_environment(answer.variables, (size_t)length - sizeof answer.go, &fault))
    check_fault(&fault);
}

static void take_words(void) {
  extern char **environ;
  char **const before = environ, *words[4] = {NULL};
  const int count = input_u8(&input) % 4;
  struct fault fault;
  if (words_take_verbatim(count, words, true, &fault)) {
    for (int i = 0; i < count; i++) CHECK(strlen(words[i]) <= UINT16_MAX);
    CHECK(words[count] == NULL);
    for (char **variable = environ; *variable != NULL; variable++)
      CHECK(strlen(*variable) <= UINT16_MAX);
  } else {
    check_fault(&fault);
  }
  environ = before;
  free_words();
}

static void read_number(void) {
  char text[32] = {0};
  (void)input_take(&input, text, sizeof text - 1);
  CHECK(socket_argument(text) <= MAX_FD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input = (struct input){.at = data, .left = size};
  const uint8_t kind = input_u8(&input);
  own_header = (kind & 0x80) != 0;
  switch ((kind & 0x7f) % KINDS) {
    case SETUP:
      read_setup();
      break;
    case GO:
      read_go();
      break;
    case WORDS:
      take_words();
      break;
    default:
      read_number();
  }
  return 0;
}
