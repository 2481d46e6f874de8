/*
 * churn: makes short connections as fast as possible, each with its own token, and so detects bytes
 * of one connection on another.
 *
 *   churn serve PORT                          on all addresses; prints "listening"
 *   churn run ADDRESS PORT COUNT AT_ONCE      prints "done N" for each tenth of COUNT, then JSON
 *
 * Each connection carries one token there and back. The token's last byte says who ends it:
 *
 *   CLIENT  the client closes                 the client's kernel keeps the tuple in TIME_WAIT
 *   HALF    the client ends its side, waits   the same, after FINs both ways
 *   SERVER  the server closes                 only the program in between keeps the tuple
 *   RESET   the client resets                 nobody keeps it: it may be reused at once
 *
 * A connection that gets no port (EADDRNOTAVAIL: all in TIME_WAIT) is retried, and counted as such.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 4096
#define EVENTS 256
#define MAX_AT_ONCE 4096
#define NO_PORT_PAUSE_MS 5
/* A connection that takes longer is counted as late and given up. */
#define LIMIT_MS 30000
#define MAX_ERRORS 160

enum ending { CLIENT, HALF, SERVER, RESET, ENDINGS };

struct token {
  uint64_t number;
  uint8_t random[7];
  uint8_t ending;
};

struct connection {
  int fd; /* -1: none */
  bool connected, echoed;
  size_t got;
  uint64_t begun_ms;
  struct token token, answer;
};

static int set;

static _Noreturn void die(const char *what) {
  fprintf(stderr, "churn: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void watch(int fd, uint32_t events, void *tag, int operation) {
  struct epoll_event event = {.events = events, .data.ptr = tag};
  if (epoll_ctl(set, operation, fd, &event) < 0) die("epoll_ctl");
}

/* ---- the server */

static void serve_one(struct connection *peer) {
  ssize_t got =
      recv(peer->fd, (uint8_t *)&peer->token + peer->got, sizeof peer->token - peer->got, 0);
  if (got < 0 && errno == EAGAIN) return;
  bool over = got <= 0;
  if (got > 0 && (peer->got += (size_t)got) == sizeof peer->token) {
    over = send(peer->fd, &peer->token, sizeof peer->token, MSG_NOSIGNAL) != sizeof peer->token ||
           peer->token.ending == SERVER;
    peer->got = 0;
  }
  if (!over) return;
  close(peer->fd);
  free(peer);
}

static _Noreturn void serve(uint16_t port) {
  const int on = 1;
  struct sockaddr_in6 any = {
      .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
  int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
      bind(listener, (struct sockaddr *)&any, sizeof any) < 0 || listen(listener, BACKLOG) < 0)
    die("listen");
  watch(listener, EPOLLIN, NULL, EPOLL_CTL_ADD);
  puts("listening");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(set, events, EVENTS, -1);
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr != NULL) {
        serve_one(events[i].data.ptr);
        continue;
      }
      int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) continue;
      struct connection *peer = calloc(1, sizeof *peer);
      if (peer == NULL) die("calloc");
      peer->fd = fd;
      watch(fd, EPOLLIN, peer, EPOLL_CTL_ADD);
    }
  }
}

/* ---- the client */

static struct sockaddr_storage target;
static socklen_t target_length;
static uint64_t wanted, begun, done, right, crossed, late, waits, errors[MAX_ERRORS];

static void finish(struct connection *connection) {
  close(connection->fd);
  connection->fd = -1;
  done++;
  if (wanted >= 10 && done % (wanted / 10) == 0) {
    printf("done %" PRIu64 "\n", done);
    fflush(stdout);
  }
}

static void fail(struct connection *connection, int error) {
  errors[error > 0 && error < MAX_ERRORS ? error : 0]++;
  finish(connection);
}

/* False: no port is free at the moment. */
static bool begin(struct connection *connection) {
  *connection = (struct connection){
      .fd = socket(target.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
      .begun_ms = now_ms(),
      .token = {.number = begun, .ending = (uint8_t)(begun % ENDINGS)},
  };
  if (connection->fd < 0) die("socket");
  if (getrandom(connection->token.random, sizeof connection->token.random, 0) < 0) die("getrandom");
  if (connect(connection->fd, (struct sockaddr *)&target, target_length) < 0 &&
      errno != EINPROGRESS) {
    if (errno == EADDRNOTAVAIL) {
      close(connection->fd);
      connection->fd = -1;
      waits++;
      return false;
    }
    begun++;
    fail(connection, errno);
    return true;
  }
  begun++;
  watch(connection->fd, EPOLLOUT, connection, EPOLL_CTL_ADD);
  return true;
}

static void echoed(struct connection *connection) {
  static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

  connection->echoed = true;
  if (memcmp(&connection->token, &connection->answer, sizeof connection->token) == 0)
    right++;
  else
    crossed++;
  switch (connection->token.ending) {
    case HALF:
      shutdown(connection->fd, SHUT_WR);
      return;
    case SERVER:
      return;
    case RESET:
      setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      break;
    default:
      break;
  }
  finish(connection);
}

static void step(struct connection *connection) {
  if (connection->fd < 0) return; /* ended by an event before this one */
  if (!connection->connected) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return fail(connection, error);
    connection->connected = true;
    if (send(connection->fd, &connection->token, sizeof connection->token, MSG_NOSIGNAL) !=
        sizeof connection->token)
      return fail(connection, errno);
    return watch(connection->fd, EPOLLIN, connection, EPOLL_CTL_MOD);
  }
  uint8_t surplus;
  ssize_t got = connection->echoed
                    ? recv(connection->fd, &surplus, 1, 0)
                    : recv(connection->fd, (uint8_t *)&connection->answer + connection->got,
                           sizeof connection->answer - connection->got, 0);
  if (got < 0) {
    if (errno != EAGAIN) fail(connection, errno);
  } else if (connection->echoed) {
    if (got > 0) crossed++;
    finish(connection);
  } else if (got == 0) {
    fail(connection, 0);
  } else if ((connection->got += (size_t)got) == sizeof connection->answer) {
    echoed(connection);
  }
}

static void give_up_late(struct connection *connections, size_t at_once) {
  for (size_t i = 0; i < at_once; i++) {
    if (connections[i].fd < 0 || now_ms() - connections[i].begun_ms < LIMIT_MS) continue;
    late++;
    finish(&connections[i]);
  }
}

static void run(size_t at_once) {
  static struct connection connections[MAX_AT_ONCE];
  const uint64_t start = now_ms();
  uint64_t looked = start;

  for (size_t i = 0; i < at_once; i++) connections[i].fd = -1;
  while (done < wanted) {
    bool ports = true;
    for (size_t i = 0; i < at_once && ports && begun < wanted; i++)
      if (connections[i].fd < 0) ports = begin(&connections[i]);
    struct epoll_event events[EVENTS];
    int count = epoll_wait(set, events, EVENTS, ports ? 1000 : NO_PORT_PAUSE_MS);
    for (int i = 0; i < count; i++) step(events[i].data.ptr);
    if (now_ms() - looked >= 1000) {
      give_up_late(connections, at_once);
      looked = now_ms();
    }
  }
  printf("{\"connections\":%" PRIu64 ",\"right\":%" PRIu64 ",\"crossed\":%" PRIu64
         ",\"late\":%" PRIu64 ",\"withoutPort\":%" PRIu64 ",\"ms\":%" PRIu64 ",\"errors\":{",
         done, right, crossed, late, waits, now_ms() - start);
  const char *separator = "";
  for (int error = 0; error < MAX_ERRORS; error++) {
    if (errors[error] == 0) continue;
    printf("%s\"%s\":%" PRIu64, separator, error == 0 ? "ended early" : strerror(error),
           errors[error]);
    separator = ",";
  }
  puts("}}");
}

int main(int argc, char **argv) {
  struct rlimit descriptors;
  getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = descriptors.rlim_max;
  setrlimit(RLIMIT_NOFILE, &descriptors);
  set = epoll_create1(EPOLL_CLOEXEC);
  if (argc == 3 && strcmp(argv[1], "serve") == 0) serve((uint16_t)atoi(argv[2]));
  if (argc != 6 || strcmp(argv[1], "run") != 0) {
    fprintf(stderr, "churn: usage is in churn.c\n");
    return 2;
  }
  struct sockaddr_in *v4 = (struct sockaddr_in *)&target;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&target;
  const in_port_t port = htons((uint16_t)atoi(argv[3]));
  if (inet_pton(AF_INET, argv[2], &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET, v4->sin_port = port, target_length = sizeof *v4;
  } else if (inet_pton(AF_INET6, argv[2], &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6, v6->sin6_port = port, target_length = sizeof *v6;
  } else {
    fprintf(stderr, "churn: %s is no address\n", argv[2]);
    return 2;
  }
  wanted = strtoull(argv[4], NULL, 10);
  size_t at_once = strtoul(argv[5], NULL, 10);
  if (wanted == 0 || at_once == 0 || at_once > MAX_AT_ONCE) return 2;
  run(at_once);
  return 0;
}
