#include "resolvers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fd.h"
#include "limits.h"
#include "privileges.h"
#include "seccomp.h"

#define FILE_NAME "/etc/resolv.conf"
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK)
/* The child's socket to the helper; all others are closed. */
#define CHILD_FD 3

struct answer {
  uint32_t count;
  bool has_more, is_longer; /* than RESOLVERS_MAX, RESOLVERS_MAX_BYTES */
  struct netlink_prefix found[RESOLVERS_MAX];
};

/* As system/resolver/resolvconf.ts has it, which asks for what is permitted here. */
static bool nameserver_parse(char *text, struct netlink_prefix *address) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  struct in_addr ipv4;

  *address = (struct netlink_prefix){.family = 4, .length = 32};
  if (inet_aton(text, &ipv4) != 0) {
    memcpy(address->address, &ipv4, sizeof ipv4);
    return true;
  }
  text[strcspn(text, "%")] = '\0';
  *address = (struct netlink_prefix){.family = 6, .length = 128};
  if (inet_pton(AF_INET6, text, address->address) != 1) return false;
  if (memcmp(address->address, mapped, sizeof mapped) == 0) {
    memcpy(&ipv4, address->address + sizeof mapped, sizeof ipv4);
    *address = (struct netlink_prefix){.family = 4, .length = 32};
    memcpy(address->address, &ipv4, sizeof ipv4);
  }
  return true;
}

/* The address of a line, without what follows it; NULL: the line has none. */
static char *nameserver_of(char *line) {
  static const char keyword[] = "nameserver";
  const size_t length = sizeof keyword - 1;

  if (strncmp(line, keyword, length) != 0) return NULL;
  if (line[length] != ' ' && line[length] != '\t') return NULL;
  char *address = line + length + strspn(line + length, " \t");
  address[strcspn(address, " \t\r")] = '\0';
  return address;
}

/* Finds nothing if the file can't be read. */
static void file_read(struct answer *answer) {
  static char text[RESOLVERS_MAX_BYTES + 2];
  size_t length = 0;
  ssize_t got;
  char *rest;

  int fd = (int)syscall(SYS_openat, AT_FDCWD, FILE_NAME, OPEN_FLAGS);
  if (fd < 0) return;
  while (length <= RESOLVERS_MAX_BYTES &&
         (got = read(fd, text + length, RESOLVERS_MAX_BYTES + 1 - length)) > 0)
    length += (size_t)got;
  close(fd);
  answer->is_longer = length > RESOLVERS_MAX_BYTES;
  if (answer->is_longer) length = RESOLVERS_MAX_BYTES;
  text[length] = '\0';
  for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
    char *address = nameserver_of(line);
    struct netlink_prefix found;
    if (address == NULL || !nameserver_parse(address, &found)) continue;
    if (answer->count < RESOLVERS_MAX)
      answer->found[answer->count++] = found;
    else
      answer->has_more = true;
  }
}

static int child_filter(void) {
  const struct seccomp_call calls[] = {
      {.number = SYS_openat, .argument = 2, .value_count = 1, .values = {OPEN_FLAGS}},
      {.number = SYS_read},
      {.number = SYS_close},
      {.number = SYS_sendto},
      {.number = SYS_recvfrom},
#ifdef SYS_send
      {.number = SYS_send},
      {.number = SYS_recv},
#endif
      {.number = SYS_exit},
      {.number = SYS_exit_group},
      {.number = SYS_restart_syscall},
  };
  return seccomp_allow_only(calls, sizeof calls / sizeof *calls);
}

/* Answers at once, which says that it has given up its rights, and then each byte. */
static void child_run(int socket) {
  struct answer answer;
  const char *what;
  char byte;

  if (dup2(socket, CHILD_FD) < 0) return;
  fd_close_from(CHILD_FD + 1);
  if (privileges_none(&what) < 0 || child_filter() < 0) return;
  do {
    memset(&answer, 0, sizeof answer);
    file_read(&answer);
    if (send(CHILD_FD, &answer, sizeof answer, MSG_NOSIGNAL) < 0) return;
  } while (recv(CHILD_FD, &byte, 1, 0) == 1);
}

bool resolvers_have(const struct resolvers *resolvers, const struct netlink_prefix *prefix) {
  for (size_t i = 0; i < resolvers->count; i++)
    if (netlink_prefix_equal(&resolvers->seen[i], prefix)) return true;
  return false;
}

/* Takes the child's answer, if there is one. */
static bool answer_take(struct resolvers *resolvers) {
  struct pollfd ready = {.fd = resolvers->child, .events = POLLIN};
  struct answer answer;

  if (poll(&ready, 1, RESOLVERS_ANSWER_MS) != 1) return false;
  if (recv(resolvers->child, &answer, sizeof answer, MSG_DONTWAIT) != sizeof answer) return false;
  bool is_full = answer.has_more;
  for (uint32_t i = 0; i < answer.count && i < RESOLVERS_MAX; i++) {
    if (resolvers_have(resolvers, &answer.found[i])) continue;
    resolvers->seen[resolvers->next] = answer.found[i];
    resolvers->next = (resolvers->next + 1) % RESOLVERS_MAX;
    if (resolvers->count < RESOLVERS_MAX)
      resolvers->count++;
    else
      is_full = true;
  }
  if (is_full) limits_reached(LIMIT_RESOLVERS);
  if (answer.is_longer) limits_reached(LIMIT_RESOLV_CONF);
  return true;
}

int resolvers_start(struct resolvers *resolvers) {
  int ends[2];

  *resolvers = (struct resolvers){.child = -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return -errno;
  pid_t pid = fork();
  if (pid == 0) {
    child_run(ends[1]);
    _exit(0);
  }
  const int failure = errno;
  close(ends[1]);
  if (pid < 0) {
    close(ends[0]);
    return -failure;
  }
  resolvers->child = ends[0];
  return answer_take(resolvers) ? 0 : -EIO;
}

void resolvers_read(struct resolvers *resolvers) {
  if (resolvers->child < 0) return;
  if (send(resolvers->child, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1) (void)answer_take(resolvers);
}
