/*
 * tunnel-dial NETNS SECONDS [DEVICE SOURCE ADDRESS PORT]...: connects to the first address that
 * answers, and passes the connection to ssh.
 *
 * ssh runs it as its ProxyCommand with ProxyUseFdpass (ssh_config(5)): standard output is a Unix
 * socket, over which ssh takes the connected socket with SCM_RIGHTS. From then on ssh has its own
 * TCP connection, as if it had dialled by itself, and this program has ended. The only difference:
 * the socket is bound to a device (SO_BINDTODEVICE), so no captured route can take it into the
 * tunnel. ssh can't do that: its -B and BindInterface only choose an address.
 *
 *   NETNS    inode of the network namespace in which the devices are (/proc/self/ns/net). In
 *            another one, where `-e` may have started ssh, nothing is captured, nor bound.
 *   SECONDS  for all addresses together
 *   DEVICE   "-": the socket is not bound to a device
 *   SOURCE   the address of this machine to connect from; "-": the kernel chooses
 *   ADDRESS  IPv4 or IPv6, with its zone if it is link-local
 *
 * The next address is tried when one fails, or after 250 ms (RFC 8305 section 5). When all have
 * failed, each has a line on stderr in ssh's own words. It ends early when ssh has gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NETNS = 1, SECONDS, FIRST_ATTEMPT };
enum { DEVICE, SOURCE, ADDRESS, PORT, WORDS };
enum { MAX_ATTEMPTS = 64, MAX_SECONDS = 86400, ATTEMPT_DELAY_MS = 250 };

struct attempt {
  char **words;
  int fd;
  int error;
  bool running;
};

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool same_namespace(const char *inode) {
  struct stat here;
  return stat("/proc/self/ns/net", &here) != 0 ||
         (unsigned long long)here.st_ino == strtoull(inode, NULL, 10);
}

static int resolve(const char *address, const char *port, struct addrinfo **found) {
  const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                                 .ai_socktype = SOCK_STREAM};
  return getaddrinfo(address, port, &hints, found) == 0 ? 0 : EINVAL;
}

static int bind_source(int fd, const char *source) {
  struct addrinfo *local;
  int error = resolve(source, NULL, &local);
  if (error != 0) return error;
  const int on = 1;
  /* The kernel chooses the port when it connects, so that the same port serves other peers. */
  (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  if (bind(fd, local->ai_addr, local->ai_addrlen) != 0) error = errno;
  freeaddrinfo(local);
  return error;
}

/* Returns 0 once the attempt runs (or has connected at once), or an errno. */
static int begin(struct attempt *attempt, bool bound) {
  struct addrinfo *to;
  const char *device = attempt->words[DEVICE], *source = attempt->words[SOURCE];
  const int on = 1;
  int error = resolve(attempt->words[ADDRESS], attempt->words[PORT], &to);
  if (error != 0) return error;
  attempt->fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (attempt->fd < 0) error = errno;
  if (error == 0 && bound && strcmp(device, "-") != 0 &&
      setsockopt(attempt->fd, SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)strlen(device)) != 0)
    error = errno;
  if (error == 0 && strcmp(source, "-") != 0) error = bind_source(attempt->fd, source);
  if (error == 0) {
    /* As ssh does by itself. */
    (void)setsockopt(attempt->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    if (connect(attempt->fd, to->ai_addr, to->ai_addrlen) != 0 && errno != EINPROGRESS)
      error = errno;
  }
  freeaddrinfo(to);
  attempt->running = error == 0;
  return error;
}

static void end(struct attempt *attempt, int error) {
  if (attempt->fd >= 0) close(attempt->fd);
  attempt->fd = -1;
  attempt->error = error;
  attempt->running = false;
}

static bool pass(int fd) {
  char byte = 0;
  struct iovec part = {.iov_base = &byte, .iov_len = 1};
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct msghdr message = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) return false;
  ssize_t sent;
  do sent = sendmsg(STDOUT_FILENO, &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent == 1;
}

/* The attempt that has connected, NULL if none has, after one wait of `wait` ms at most. */
static struct attempt *look(struct attempt *attempts, int count, int wait, bool *ssh_gone) {
  struct pollfd ready[MAX_ATTEMPTS + 1];
  for (int i = 0; i < count; i++)
    ready[i] = (struct pollfd){.fd = attempts[i].running ? attempts[i].fd : -1, .events = POLLOUT};
  ready[count] = (struct pollfd){.fd = STDOUT_FILENO, .events = 0};
  if (poll(ready, (nfds_t)count + 1, wait) <= 0) return NULL;
  *ssh_gone = (ready[count].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
  for (int i = 0; i < count; i++) {
    int error = 0;
    socklen_t size = sizeof error;
    if (!attempts[i].running || ready[i].revents == 0) continue;
    if (getsockopt(attempts[i].fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error == 0) return &attempts[i];
    end(&attempts[i], error);
  }
  return NULL;
}

static struct attempt *race(struct attempt *attempts, int count, bool bound, int64_t deadline,
                            bool *ssh_gone) {
  int started = 0;
  int64_t next = now_ms();
  for (;;) {
    int running = 0;
    for (int i = 0; i < started; i++) running += attempts[i].running;
    const int64_t now = now_ms();
    if (now >= deadline || *ssh_gone || (started == count && running == 0)) return NULL;
    if (started < count && (running == 0 || now >= next)) {
      struct attempt *attempt = &attempts[started++];
      const int error = begin(attempt, bound);
      if (error != 0) end(attempt, error);
      next = error != 0 ? now : now + ATTEMPT_DELAY_MS;
      continue;
    }
    const int64_t until = started < count && next < deadline ? next : deadline;
    const int before = running;
    struct attempt *connected = look(attempts, started, (int)(until - now), ssh_gone);
    if (connected != NULL) return connected;
    running = 0;
    for (int i = 0; i < started; i++) running += attempts[i].running;
    if (running < before) next = now_ms(); /* one has failed */
  }
}

static int usage(void) {
  fprintf(stderr, "usage: tunnel-dial NETNS SECONDS [DEVICE SOURCE ADDRESS PORT]...\n");
  return 2;
}

int main(int argc, char **argv) {
  struct attempt attempts[MAX_ATTEMPTS] = {0};
  char *rest = NULL;
  const int count = (argc - FIRST_ATTEMPT) / WORDS;
  if (argc < FIRST_ATTEMPT + WORDS || (argc - FIRST_ATTEMPT) % WORDS != 0 || count > MAX_ATTEMPTS)
    return usage();
  const long seconds = strtol(argv[SECONDS], &rest, 10);
  if (*rest != '\0' || seconds < 1 || seconds > MAX_SECONDS) return usage();
  for (int i = 0; i < count; i++)
    attempts[i] = (struct attempt){.words = argv + FIRST_ATTEMPT + i * WORDS, .fd = -1};

  bool ssh_gone = false;
  struct attempt *connected = race(attempts, count, same_namespace(argv[NETNS]),
                                   now_ms() + seconds * 1000, &ssh_gone);
  if (connected != NULL && pass(connected->fd)) {
    fprintf(stderr, "tunnel-dial: connected to %s port %s\n", connected->words[ADDRESS],
            connected->words[PORT]);
    return 0;
  }
  if (ssh_gone || connected != NULL) return 1;
  for (int i = 0; i < count; i++) {
    const int error = attempts[i].error != 0 ? attempts[i].error : ETIMEDOUT;
    fprintf(stderr, "tunnel-dial: connect to host %s port %s: %s\n", attempts[i].words[ADDRESS],
            attempts[i].words[PORT], strerror(error));
  }
  return 1;
}
