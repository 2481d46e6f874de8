#include "rules.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

__attribute__((format(printf, 2, 3))) static bool refuse(char *error, const char *format, ...) {
  va_list arguments;

  va_start(arguments, format);
  vsnprintf(error, RULES_ERROR, format, arguments);
  va_end(arguments);
  return false;
}

/* A decimal number up to `most`. */
static bool number_parse(const char *text, unsigned long most, unsigned long *number) {
  *number = 0;
  if (*text == '\0' || (text[0] == '0' && text[1] != '\0')) return false;
  for (; *text != '\0'; text++) {
    if (*text < '0' || *text > '9') return false;
    *number = *number * 10 + (unsigned long)(*text - '0');
    if (*number > most) return false;
  }
  return true;
}

/* Whether a rule for `who` is for this user. */
static bool who_matches(const struct client *client, const char *who, bool *matches, char *error) {
  unsigned long number;

  if (strcmp(who, "*") == 0) {
    *matches = true;
    return true;
  }
  if (who[0] == '%') {
    if (number_parse(who + 1, UINT32_MAX - 1, &number)) {
      *matches = client_in_group(client, (gid_t)number);
      return true;
    }
    const struct group *group = getgrnam(who + 1);
    if (group == NULL) return refuse(error, "there is no group \"%s\"", who + 1);
    *matches = client_in_group(client, group->gr_gid);
    return true;
  }
  if (number_parse(who, UINT32_MAX - 1, &number)) {
    *matches = client->uid == (uid_t)number;
    return true;
  }
  const struct passwd *user = getpwnam(who);
  if (user == NULL) return refuse(error, "there is no user \"%s\"", who);
  *matches = client->uid == user->pw_uid;
  return true;
}

/* "10.0.0.0/8"; the address must have no host bits. */
static bool prefix_parse(char *word, struct netlink_prefix *prefix, char *error) {
  char *slash = strchr(word, '/');
  unsigned long length;

  *prefix = (struct netlink_prefix){.family = strchr(word, ':') != NULL ? 6 : 4};
  const unsigned bits = prefix->family == 4 ? 32 : 128;
  if (slash == NULL || !number_parse(slash + 1, bits, &length))
    return refuse(error, "\"%s\" is neither a prefix nor \"default\" or \"local\"", word);
  *slash = '\0';
  const int parsed = inet_pton(prefix->family == 4 ? AF_INET : AF_INET6, word, prefix->address);
  *slash = '/';
  if (parsed != 1) return refuse(error, "\"%s\" has no valid address", word);
  prefix->length = (uint8_t)length;
  for (unsigned bit = prefix->length; bit < bits; bit++)
    if ((prefix->address[bit / 8] & (0x80u >> bit % 8)) != 0)
      return refuse(error, "\"%s\" has bits after its length", word);
  return true;
}

/* A line of words, the first of which is there. */
static bool line_apply(struct rules *rules, const struct client *client, char **words,
                       size_t count, char *error) {
  struct netlink_prefix prefix;
  bool matches = false;

  if (strcmp(words[0], "permit") != 0) return refuse(error, "unknown word \"%s\"", words[0]);
  if (count < 3) return refuse(error, "it must be: permit WHO PREFIX...");
  if (!who_matches(client, words[1], &matches, error)) return false;
  for (size_t i = 2; i < count; i++) {
    const bool usual = strcmp(words[i], "default") == 0, local = strcmp(words[i], "local") == 0;
    if (!usual && !local && !prefix_parse(words[i], &prefix, error)) return false;
    if (!matches) continue;
    rules->usual = rules->usual || usual;
    rules->local = rules->local || local;
    if (usual || local) continue;
    if (rules->count == RULES_MAX_PREFIXES)
      return refuse(error, "more than %u prefixes for one user", RULES_MAX_PREFIXES);
    rules->prefixes[rules->count++] = prefix;
  }
  return true;
}

/* Splits at spaces and tabs, up to a comment. False if there are too many words. */
static bool words_split(char *line, char **words, size_t *count) {
  char *rest = line;

  *count = 0;
  for (char *word = strtok_r(line, " \t", &rest); word != NULL; word = strtok_r(NULL, " \t", &rest)) {
    if (word[0] == '#') return true;
    if (*count == RULES_MAX_WORDS) return false;
    words[(*count)++] = word;
  }
  return true;
}

bool rules_parse(struct rules *rules, const struct client *client, char *text, size_t length,
                 char error[RULES_ERROR]) {
  char *words[RULES_MAX_WORDS], reason[RULES_ERROR];
  unsigned number = 0;
  size_t count;

  *rules = (struct rules){.usual = false};
  for (char *line = text; line < text + length; number++) {
    char *end = memchr(line, '\n', (size_t)(text + length - line));
    if (end == NULL) end = text + length; /* the caller's NUL */
    *end = '\0';
    for (const char *at = line; at < end; at++)
      if (((unsigned char)*at < 0x20 && *at != '\t') || *at == 0x7f)
        return refuse(error, "line %u: a control character", number + 1);
    if (!words_split(line, words, &count))
      return refuse(error, "line %u: more than %u words", number + 1, RULES_MAX_WORDS);
    if (count > 0 && !line_apply(rules, client, words, count, reason))
      return refuse(error, "line %u: %s", number + 1, reason);
    line = end + 1;
  }
  return true;
}

/* Whether only root can replace or change it. */
static bool is_roots(int fd, bool directory, const char *name, char *error) {
  struct stat status;

  if (fstat(fd, &status) < 0) return refuse(error, "%s: %s", name, strerror(errno));
  if (directory ? !S_ISDIR(status.st_mode) : !S_ISREG(status.st_mode))
    return refuse(error, "%s is not a %s", name, directory ? "directory" : "file");
  if (status.st_uid != 0) return refuse(error, "%s doesn't belong to root", name);
  if ((status.st_mode & 022) != 0) return refuse(error, "others than root can write to %s", name);
  return true;
}

/* Opens the file; `*fd` is -1 if there is none. False, with the reason, if it can't be trusted. */
static bool file_open(int *fd, char *error) {
  static const char *const parts[] = {"/", "etc", "tunnel", "helper.conf"};
  const size_t last = sizeof parts / sizeof *parts - 1;
  int at = AT_FDCWD;

  *fd = -1;
  for (size_t i = 0; i <= last; i++) {
    const int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    int next = openat(at, parts[i], flags | (i < last ? O_DIRECTORY : 0));
    const int failure = errno;
    if (at >= 0) close(at);
    if (next < 0) {
      if (failure == ENOENT) return true;
      if (failure == ELOOP || failure == ENOTDIR)
        return refuse(error, "%s is a symbolic link, or no directory", parts[i]);
      return refuse(error, "%s: %s", parts[i], strerror(failure));
    }
    if (!is_roots(next, i < last, parts[i], error)) {
      close(next);
      return false;
    }
    at = next;
  }
  *fd = at;
  return true;
}

bool rules_read(struct rules *rules, const struct client *client, char error[RULES_ERROR]) {
  static char text[RULES_MAX_BYTES + 1];
  size_t length = 0;
  ssize_t got;
  int fd;

  if (!file_open(&fd, error)) return false;
  if (fd < 0) {
    *rules = (struct rules){.usual = true};
    return true;
  }
  while ((got = read(fd, text + length, sizeof text - length)) > 0) {
    length += (size_t)got;
    if (length == sizeof text) break;
  }
  const int failure = errno;
  close(fd);
  if (got < 0) return refuse(error, "it can't be read: %s", strerror(failure));
  if (length > RULES_MAX_BYTES) return refuse(error, "longer than %u bytes", RULES_MAX_BYTES);
  text[length] = '\0';
  return rules_parse(rules, client, text, length, error);
}
