/*
 * load: makes the benchmark's traffic and answers it, at the same cost for every peer.
 *
 *   load serve PORT                   the server (serve.c)
 *   load [options] VERB ADDRESS PORT  the client
 *     up | down | polite              FLOWS connections that send or receive without end; `polite`
 *                                     receives from a server that writes as OpenSSH does
 *     stall                           asks for endless data and reads none
 *     hold                            a byte there and back on each connection, then silence
 *     request | request-new           1 KB there and back, a pause, again; request-new opens a new
 *                                     connection each time
 *     connect                         connect, a byte there and back, close; again at once
 *     fetch                           FLOWS downloads of BYTES each, timed from their connect on
 *   load burn ON OFF                  burns a processor for ON ms, rests for OFF ms, again (burn.c)
 *
 *   -n FLOWS    connections at a time (1)
 *   -t SECONDS  how long request and connect go on (1), and when fetch gives up; the others end
 *               with standard input
 *   -b BYTES    how much each flow of up, down and fetch sends or receives; those of up and down
 *               begin at the first line on standard input
 *   -s PORT     through a SOCKS5 proxy on 127.0.0.1
 *
 * The states of a connection; one thread and epoll serve all:
 *
 *   WAITING --due--> CONNECTING --[SOCKS: GREETED --> ASKED]--> OPEN --ended by the verb--> WAITING
 *
 * At most RAMP connections are opened at a time, except when opening them is what we measure.
 * Endless flows start when all are open: then the client prints "open". Client and server print
 * their counters and the time for each line on standard input, so a rate is what the receiver got
 * between two lines. request, connect and fetch print their figures at the end. A connection that
 * fails ends the program, except with connect, which counts it.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NANOSECONDS UINT64_C(1000000000)
#define RAMP 64
#define PAUSE_NS (NANOSECONDS / 100)
/* How long to wait for late answers when the time is over. */
#define GRACE_NS (5 * NANOSECONDS)
/* Longer than any run. */
#define NEVER_NS (NANOSECONDS * 1000000)
#define MAX_SAMPLES 1000000
#define SOCKS_REPLY 10

enum phase { WAITING, CONNECTING, GREETED, ASKED, OPEN };

struct flow {
  int fd;
  enum phase phase;
  bool asked_first; /* the manner has been sent on this connection */
  uint64_t due;     /* when WAITING, or OPEN without a request under way */
  uint64_t began;
  uint64_t left; /* to be sent */
  size_t got;
};

struct verb {
  const char *name;
  enum manner manner;
  bool endless, timed, fresh;
};

static const struct verb verbs[] = {
    {.name = "up", .manner = SINK, .endless = true},
    {.name = "down", .manner = SOURCE, .endless = true},
    {.name = "polite", .manner = POLITE, .endless = true},
    {.name = "stall", .manner = SOURCE, .endless = true},
    {.name = "hold", .manner = ECHO},
    {.name = "request", .manner = ECHO, .timed = true},
    {.name = "request-new", .manner = ECHO, .timed = true, .fresh = true},
    {.name = "connect", .manner = ECHO, .timed = true, .fresh = true},
    {.name = "fetch", .manner = PORTION, .timed = true, .fresh = true},
};

uint8_t block[BLOCK_BYTES];
uint64_t received, sent;

static const struct verb *verb;
static struct sockaddr_in target, proxy;
static bool through_proxy;
static struct flow *flows;
static size_t flow_count = 1, opening, opened;
static uint64_t end_at, portion;
static bool started;
static int set;
static double *samples;
static size_t sample_count, failures;

uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NANOSECONDS + (uint64_t)now.tv_nsec;
}

_Noreturn void die(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

void watch(int in, int fd, uint32_t events, void *tag, bool known) {
  struct epoll_event event = {.events = events, .data.ptr = tag};
  if (epoll_ctl(in, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

bool pour(int fd, enum manner manner, uint64_t *left) {
  size_t most = manner == POLITE ? POLITE_BYTES : BLOCK_BYTES;
  for (int i = 0; i < (manner == POLITE ? 1 : BLOCKS_A_TURN) && *left > 0; i++) {
    ssize_t taken = send(fd, block, *left < most ? (size_t)*left : most, MSG_NOSIGNAL);
    if (taken < 0) return errno == EAGAIN;
    sent += (uint64_t)taken;
    *left -= (uint64_t)taken;
  }
  return true;
}

void answer_input(void) {
  char line[64];
  if (read(STDIN_FILENO, line, sizeof line) <= 0) exit(0);
  printf("{\"at\":%.6f,\"received\":%" PRIu64 ",\"sent\":%" PRIu64 "}\n", (double)now_ns() / 1e9,
         received, sent);
  fflush(stdout);
}

static bool is(const char *name) { return strcmp(verb->name, name) == 0; }

static void end_flow(struct flow *flow, uint64_t pause) {
  close(flow->fd);
  if (flow->phase != OPEN) opening--;
  flow->phase = WAITING;
  flow->due = now_ns() + pause;
}

static void fail(struct flow *flow, const char *what) {
  if (!is("connect")) die(what);
  failures++;
  end_flow(flow, PAUSE_NS);
}

/* Everything that is sent this way is smaller than any socket's buffer. */
static void say(struct flow *flow, const void *data, size_t length) {
  if (send(flow->fd, data, length, MSG_NOSIGNAL) != (ssize_t)length) fail(flow, "send");
}

static void begin(struct flow *flow) {
  const struct sockaddr_in *first = through_proxy ? &proxy : &target;
  *flow = (struct flow){.phase = CONNECTING, .began = now_ns()};
  flow->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (flow->fd < 0) die("socket");
  int on = 1;
  setsockopt(flow->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  opening++;
  watch(set, flow->fd, EPOLLOUT, flow, false);
  if (connect(flow->fd, (const struct sockaddr *)first, sizeof *first) < 0 && errno != EINPROGRESS)
    fail(flow, "connect");
}

/* How many bytes a flow's answer has. */
static size_t answer_length(void) {
  return is("fetch") ? (size_t)portion : is("connect") || is("hold") ? 1 : REQUEST_BYTES;
}

static void ask_portion(struct flow *flow) {
  uint8_t header[1 + sizeof portion] = {PORTION};
  memcpy(header + 1, &portion, sizeof portion);
  flow->got = 0;
  say(flow, header, sizeof header);
}

/* Sends a request: one byte if only the connection counts. */
static void ask(struct flow *flow) {
  if (is("fetch")) {
    ask_portion(flow);
    return;
  }
  uint8_t request[1 + REQUEST_BYTES] = {ECHO};
  size_t length = answer_length();
  if (!verb->fresh) flow->began = now_ns();
  flow->got = 0;
  flow->due = 0;
  bool first = !flow->asked_first;
  flow->asked_first = true;
  say(flow, first ? request : request + 1, first ? length + 1 : length);
}

static void start_endless(void) {
  for (size_t i = 0; i < flow_count; i++) {
    uint8_t header[1 + sizeof portion] = {portion != 0 && is("down") ? PORTION : verb->manner};
    memcpy(header + 1, &portion, sizeof portion);
    say(&flows[i], header, header[0] == PORTION ? sizeof header : 1);
    flows[i].left = portion != 0 ? portion : UINT64_MAX;
    uint32_t events = is("up") ? EPOLLOUT : is("stall") ? 0 : EPOLLIN;
    watch(set, flows[i].fd, events, &flows[i], true);
  }
  started = true;
}

static void on_open(struct flow *flow) {
  flow->phase = OPEN;
  opening--;
  opened++;
  watch(set, flow->fd, verb->endless ? 0 : EPOLLIN, flow, true);
  if (!verb->endless) {
    ask(flow);
  } else if (opened == flow_count) {
    puts("open");
    fflush(stdout);
    if (portion == 0) start_endless();
  }
}

/* Reads the next byte of a proxy's answer; reads nothing beyond its replies. */
static bool proxy_said(struct flow *flow, size_t length) {
  uint8_t reply[SOCKS_REPLY];
  ssize_t got = recv(flow->fd, reply, length - flow->got, 0);
  if (got <= 0 || (flow->got <= 1 && flow->got + (size_t)got > 1 && reply[1 - flow->got] != 0)) {
    errno = ECONNREFUSED;
    fail(flow, "the proxy refused");
    return false;
  }
  flow->got += (size_t)got;
  return flow->got == length;
}

/* RFC 1928: no authentication, CONNECT to an IPv4 address. */
static void greet(struct flow *flow) {
  static const uint8_t greeting[] = {5, 1, 0};
  flow->phase = GREETED;
  flow->got = 0;
  watch(set, flow->fd, EPOLLIN, flow, true);
  say(flow, greeting, sizeof greeting);
}

static void ask_proxy(struct flow *flow) {
  uint8_t request[SOCKS_REPLY] = {5, 1, 0, 1};
  memcpy(request + 4, &target.sin_addr, 4);
  memcpy(request + 8, &target.sin_port, 2);
  flow->phase = ASKED;
  flow->got = 0;
  say(flow, request, sizeof request);
}

static void sample(const struct flow *flow) {
  if (sample_count < MAX_SAMPLES) samples[sample_count++] = (double)(now_ns() - flow->began) / 1e6;
}

static void answered(struct flow *flow) {
  if (is("hold")) {
    if (++sample_count == flow_count) {
      puts("open");
      fflush(stdout);
    }
    return;
  }
  sample(flow);
  if (verb->fresh)
    end_flow(flow, is("connect") ? 0 : is("fetch") ? NEVER_NS : PAUSE_NS);
  else
    flow->due = now_ns() + PAUSE_NS;
}

static void take(struct flow *flow) {
  ssize_t got = recv(flow->fd, block, sizeof block, 0);
  if (got == 0) errno = ECONNRESET;
  if (got <= 0) {
    if (got == 0 || errno != EAGAIN) fail(flow, "receive");
    return;
  }
  received += (uint64_t)got;
  if (verb->endless) return;
  flow->got += (size_t)got;
  if (flow->got == answer_length()) answered(flow);
}

static void step(struct flow *flow, uint32_t events) {
  switch (flow->phase) {
    case CONNECTING: {
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(flow->fd, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) {
        errno = error;
        fail(flow, "connect");
      } else if (through_proxy) {
        greet(flow);
      } else {
        on_open(flow);
      }
      break;
    }
    case GREETED:
      if (proxy_said(flow, 2)) ask_proxy(flow);
      break;
    case ASKED:
      if (proxy_said(flow, SOCKS_REPLY)) on_open(flow);
      break;
    case OPEN:
      if (!is("up"))
        take(flow);
      else if (events & EPOLLOUT && !pour(flow->fd, SOURCE, &flow->left))
        fail(flow, "send");
      else if (flow->left == 0)
        watch(set, flow->fd, 0, flow, true);
      break;
    case WAITING:
      break;
  }
}

/* Starts flows and requests that are due; returns the ms until the next, -1: none, -2: over. */
static int start_due(void) {
  uint64_t now = now_ns(), next = UINT64_MAX;
  bool fetched = is("fetch") && sample_count == flow_count;
  bool over = fetched || (end_at != 0 && now >= end_at);
  size_t most = is("connect") ? flow_count : RAMP, busy = 0;
  for (size_t i = 0; i < flow_count; i++) {
    struct flow *flow = &flows[i];
    bool resting = flow->phase == WAITING || (verb->timed && flow->phase == OPEN && flow->due != 0);
    busy += !resting;
    if (!resting || over) continue;
    if (flow->due > now) {
      next = flow->due < next ? flow->due : next;
    } else if (flow->phase == OPEN) {
      ask(flow);
    } else if (opening < most) {
      begin(flow);
    }
  }
  if (over && (busy == 0 || is("connect") || is("fetch") || now >= end_at + GRACE_NS)) return -2;
  if (end_at != 0 && !over && end_at < next) next = end_at;
  if (over) next = end_at + GRACE_NS;
  return next == UINT64_MAX ? -1 : (int)((next - now) / 1000000 + 1);
}

static void print_samples(double seconds) {
  /* A request without an answer took at least as long as it has waited. */
  for (size_t i = 0; i < flow_count && !is("connect") && !is("fetch"); i++)
    if (flows[i].phase != WAITING && flows[i].due == 0) sample(&flows[i]);
  printf("{\"seconds\":%.6f,\"failures\":%zu,\"received\":%" PRIu64 ",\"milliseconds\":[", seconds,
         failures, received);
  for (size_t i = 0; i < sample_count; i++) printf("%s%.3f", i == 0 ? "" : ",", samples[i]);
  puts("]}");
}

static void client(uint64_t duration) {
  set = epoll_create1(EPOLL_CLOEXEC);
  flows = calloc(flow_count, sizeof *flows);
  samples = calloc(MAX_SAMPLES, sizeof *samples);
  if (flows == NULL || samples == NULL) die("calloc");
  uint64_t began = now_ns();
  if (verb->timed)
    end_at = began + duration;
  else
    watch(set, STDIN_FILENO, EPOLLIN, NULL, false);
  /* Once all endless flows are open, we don't scan them for work: there is nothing to start. */
  while (true) {
    int wait = verb->timed || opened < flow_count ? start_due() : -1;
    if (wait == -2) break;
    struct epoll_event events[EVENTS_A_TURN];
    int count = epoll_wait(set, events, EVENTS_A_TURN, wait);
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr != NULL) {
        step(events[i].data.ptr, events[i].events);
        continue;
      }
      answer_input();
      if (portion != 0 && !started && opened == flow_count) start_endless();
    }
  }
  print_samples((double)(now_ns() - began) / 1e9);
}

static void address(struct sockaddr_in *into, const char *host, const char *port) {
  into->sin_family = AF_INET;
  into->sin_port = htons((uint16_t)atoi(port));
  if (inet_pton(AF_INET, host, &into->sin_addr) != 1 || into->sin_port == 0) {
    errno = EINVAL;
    die(host);
  }
}

int main(int argc, char **argv) {
  struct rlimit descriptors;
  getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = descriptors.rlim_max; /* thousands of flows, on either side */
  setrlimit(RLIMIT_NOFILE, &descriptors);
  double seconds = 1;
  int option;
  while ((option = getopt(argc, argv, "n:t:b:s:")) != -1) {
    if (option == 'n')
      flow_count = strtoul(optarg, NULL, 10);
    else if (option == 'b')
      portion = strtoull(optarg, NULL, 10);
    else if (option == 't')
      seconds = strtod(optarg, NULL);
    else if (option == 's')
      address(&proxy, "127.0.0.1", optarg), through_proxy = true;
    else
      return 2;
  }
  argv += optind;
  argc -= optind;
  if (argc == 2 && strcmp(argv[0], "serve") == 0) serve((uint16_t)atoi(argv[1]));
  if (argc == 3 && strcmp(argv[0], "burn") == 0)
    burn((int64_t)(atof(argv[1]) * 1e6), (int64_t)(atof(argv[2]) * 1e6));
  for (size_t i = 0; argc == 3 && i < sizeof verbs / sizeof *verbs; i++)
    if (strcmp(argv[0], verbs[i].name) == 0) verb = &verbs[i];
  if (verb == NULL || flow_count == 0 || (is("fetch") && portion == 0)) {
    fprintf(stderr, "load: usage is in load.c\n");
    return 2;
  }
  address(&target, argv[1], argv[2]);
  client((uint64_t)(seconds * 1e9));
  return 0;
}
