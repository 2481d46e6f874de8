#include "launcher/words.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_TEXT 64
#define ASIDE "TUNNEL_ASIDE_" /* src/cli/node.ts */
#define FIRST_CAPACITY 65536u
/* More than execve(2) accepts: a quarter of the stack's limit, and at most 6 MiB. */
#define MAX_BYTES (16u << 20)

struct text {
  char *bytes; /* each word ends in a NUL */
  size_t length;
};

/* Reads a file of unknown size, as in /proc. Returns 0 or a negative errno. */
static int read_whole(int fd, struct text *text) {
  size_t capacity = 0;

  *text = (struct text){.bytes = NULL};
  for (;;) {
    if (text->length == capacity) {
      capacity = capacity == 0 ? FIRST_CAPACITY : capacity * 2;
      char *larger = capacity > MAX_BYTES ? NULL : realloc(text->bytes, capacity);
      if (larger == NULL) return -ENOMEM;
      text->bytes = larger;
    }
    ssize_t got = read(fd, text->bytes + text->length, capacity - text->length);
    if (got < 0) return -errno;
    if (got == 0) break;
    text->length += (size_t)got;
  }
  return text->length > 0 && text->bytes[text->length - 1] != '\0' ? -EPROTO : 0;
}

/* Reads a file of the parent in /proc. The text stays in use until execve(2). */
static bool read_of_parent(const char *name, struct text *text, struct fault *fault) {
  char path[PATH_TEXT];
  const pid_t parent = getppid();

  snprintf(path, sizeof path, "/proc/%d/%s", (int)parent, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  int result = fd < 0 ? -errno : read_whole(fd, text);
  if (fd >= 0) close(fd);
  /* If the parent has changed, the program is gone, and the text may be another process's. */
  if (result == 0 && getppid() != parent) result = -ESRCH;
  if (result < 0) free(text->bytes);
  return result == 0 || fault_set(fault, LAUNCHER_STEP_REQUEST, result, "/proc/PID/%s", name);
}

static size_t count_words(const struct text *text) {
  size_t count = 0;
  for (size_t i = 0; i < text->length; i++) count += text->bytes[i] == '\0';
  return count;
}

/* Makes `words` point to the words of `text` from index `first` on. */
static void point_at(const struct text *text, size_t first, char **words) {
  size_t number = 0;
  for (size_t begin = 0, i = 0; i < text->length; i++) {
    if (text->bytes[i] != '\0') continue;
    if (number++ >= first) *words++ = text->bytes + begin;
    begin = i + 1;
  }
}

bool words_take_verbatim(int count, char **words, bool give_back, struct fault *fault) {
  extern char **environ;
  struct text line = {.bytes = NULL}, variables = {.bytes = NULL};

  if (!read_of_parent("cmdline", &line, fault) || !read_of_parent("environ", &variables, fault))
    return false;
  const size_t all = count_words(&line), environment = count_words(&variables);
  if (all < (size_t)count)
    return fault_set(fault, LAUNCHER_STEP_REQUEST, EPROTO, "/proc/PID/cmdline");
  char **pointers = calloc(environment + 1, sizeof *pointers);
  if (pointers == NULL) return fault_set(fault, LAUNCHER_STEP_REQUEST, ENOMEM, "environment");
  point_at(&line, all - (size_t)count, words);
  point_at(&variables, 0, pointers);
  for (char **variable = pointers; give_back && *variable != NULL; variable++)
    if (strncmp(*variable, ASIDE, sizeof ASIDE - 1) == 0) *variable += sizeof ASIDE - 1;
  environ = pointers;
  return true;
}

bool words_change_environment(char *words, size_t length, struct fault *fault) {
  if (length > 0 && words[length - 1] != '\0')
    return fault_set(fault, LAUNCHER_STEP_REQUEST, EPROTO, "GO");
  for (char *word = words; word < words + length; word += strlen(word) + 1) {
    const int result = strchr(word, '=') != NULL ? putenv(word) : unsetenv(word);
    if (result != 0) return fault_set(fault, LAUNCHER_STEP_REQUEST, errno, "environment");
  }
  return true;
}
