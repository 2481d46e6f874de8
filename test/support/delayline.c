/*
 * delayline: a long cable between two network namespaces.
 *
 * Kernels without netem can't delay packets, so the lab uses this instead of a veth pair: a TUN
 * device in each of two namespaces, and this program, which passes every packet that leaves one of
 * them to the other after a fixed time, in order. It can drop a share of the packets at random
 * (from a seed), and limit the rate.
 *
 *   left TUN  --read-->  queue (release = now + delay)  --write-->  right TUN
 *   left TUN  <--write--  queue (release = now + delay)  <--read--  right TUN
 *
 * - Packets keep their virtio header (Documentation/networking/tuntap.rst, linux/virtio_net.h), so
 *   a TCP super-packet of up to 64 KiB passes whole, with its unfinished checksum. So one thread
 *   carries several hundred MB/s. With loss or a rate the devices don't offer segmentation: a lost
 *   or paced packet is then one segment of at most the MTU, as on a real link.
 * - Each direction has one ring of bytes. Frames are read straight into it and written straight
 *   out of it. The ring has space for what a line of LINE_BYTES_PER_SECOND has in flight; further
 *   packets are dropped and counted.
 * - With --rate, packets leave one after the other at that rate (IP bytes, without link framing),
 *   and at most --backlog bytes wait for it: the buffer of the router in front of the slow link.
 * - Ends on SIGTERM or SIGINT, and when the other side closes standard input, so it doesn't outlive
 *   the process that started it. It then prints its counters to standard error.
 *
 * "ready" on standard output says that both devices exist. The caller sets addresses, routes and
 * `up`.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NANOSECONDS UINT64_C(1000000000)
/* The ring's size: 10 Gbit/s over the delay, but at least MIN_RING_BYTES. */
#define LINE_BYTES_PER_SECOND UINT64_C(1250000000)
#define MIN_RING_BYTES (UINT64_C(8) << 20)
#define MAX_DELAY_MICROSECONDS 10000000
/* An IPv6 header and its largest payload (65,575 octets) behind the virtio header. */
#define MAX_FRAME 65600
/* Frames read from one device before frames of the other direction may be delivered. */
#define READ_BATCH 32
/**
 * The default of --backlog: what passes at the given rate in 100 ms, but at least a burst of a few
 * segments.
 */
#define BACKLOG_MILLISECONDS 100
#define MIN_BACKLOG_BYTES 32768

struct options {
  const char *ends[2];
  uint64_t delay; /* one way, ns */
  double loss;
  uint64_t seed;
  uint64_t rate; /* bytes per second; 0: unlimited */
  uint64_t backlog;
};

/* Precedes each frame in the ring. */
struct record {
  uint64_t release;
  uint64_t length;
};

/**
 * One direction. Records lie in [head, tail), or in [head, end) and [0, tail) once the tail has
 * wrapped.
 */
struct line {
  const char *name;
  int from, to;
  uint8_t *ring;
  size_t size, head, tail, end, records;
  uint64_t free_at; /* when the rate-limited link has sent everything in its queue */
  uint64_t passed, bytes, lost, dropped, rejected;
};

static volatile sig_atomic_t stopped;

static void on_signal(int number) {
  (void)number;
  stopped = 1;
}

static _Noreturn void die(const char *what) {
  fprintf(stderr, "delayline: %s: %s\n", what, strerror(errno));
  exit(1);
}

static _Noreturn void usage(const char *what) {
  fprintf(stderr,
          "delayline: %s\n"
          "usage: delayline --left NETNS:DEVICE --right NETNS:DEVICE --delay MICROSECONDS [--loss "
          "FRACTION]\n"
          "                 [--seed NUMBER] [--rate BYTES_PER_SECOND] [--backlog BYTES]\n",
          what);
  exit(2);
}

static uint64_t clock_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NANOSECONDS + (uint64_t)now.tv_nsec;
}

/* splitmix64: a uniform fraction in [0, 1) */
static double random_fraction(uint64_t *state) {
  uint64_t value = (*state += UINT64_C(0x9e3779b97f4a7c15));
  value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
  return (double)((value ^ (value >> 31)) >> 11) / (double)(UINT64_C(1) << 53);
}

static uint64_t parse_number(const char *text, uint64_t max, const char *what) {
  char *end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || *text == '-' || value > max) usage(what);
  return value;
}

static struct options parse_options(int argc, char **argv) {
  enum { LEFT, RIGHT, DELAY, LOSS, SEED, RATE, BACKLOG };
  static const struct option names[] = {
      {"left", required_argument, NULL, LEFT},       {"right", required_argument, NULL, RIGHT},
      {"delay", required_argument, NULL, DELAY},     {"loss", required_argument, NULL, LOSS},
      {"seed", required_argument, NULL, SEED},       {"rate", required_argument, NULL, RATE},
      {"backlog", required_argument, NULL, BACKLOG}, {NULL, 0, NULL, 0},
  };
  struct options options = {.seed = 1};
  bool delayed = false;
  int name;
  char *end;
  while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
    switch (name) {
      case LEFT:
      case RIGHT:
        options.ends[name] = optarg;
        break;
      case DELAY:
        options.delay =
            parse_number(optarg, MAX_DELAY_MICROSECONDS, "--delay: not a time in microseconds") *
            1000;
        delayed = true;
        break;
      case LOSS:
        options.loss = strtod(optarg, &end);
        if (end == optarg || *end != '\0' || !(options.loss >= 0 && options.loss < 1))
          usage("--loss: not in [0, 1)");
        break;
      case SEED:
        options.seed = parse_number(optarg, UINT64_MAX, "--seed: not a number");
        break;
      case RATE:
        options.rate = parse_number(optarg, LINE_BYTES_PER_SECOND,
                                    "--rate: not a possible number of bytes per second");
        break;
      case BACKLOG:
        options.backlog =
            parse_number(optarg, UINT32_MAX, "--backlog: not a possible number of bytes");
        break;
      default:
        usage("unknown option");
    }
  }
  if (optind != argc || options.ends[0] == NULL || options.ends[1] == NULL || !delayed)
    usage("--left, --right and --delay are needed, and nothing but options");
  if (options.backlog == 0) options.backlog = options.rate * BACKLOG_MILLISECONDS / 1000;
  if (options.backlog < MIN_BACKLOG_BYTES) options.backlog = MIN_BACKLOG_BYTES;
  return options;
}

/**
 * Opens a TUN inside a named namespace and comes back. A TUN belongs to the namespace in which it
 * was opened.
 */
static int open_device(const char *end, bool segmentation, int own_namespace) {
  const char *colon = strchr(end, ':');
  char path[PATH_MAX];
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  if (colon == NULL || colon == end || colon[1] == '\0' ||
      strlen(colon + 1) >= sizeof request.ifr_name)
    usage("an end is NETNS:DEVICE");
  memcpy(request.ifr_name, colon + 1, strlen(colon + 1) + 1);
  int length = snprintf(path, sizeof path, "/run/netns/%.*s", (int)(colon - end), end);
  if (length < 0 || (size_t)length >= sizeof path) usage("the namespace's name is too long");

  int namespace = open(path, O_RDONLY | O_CLOEXEC);
  if (namespace < 0) die(path);
  if (setns(namespace, CLONE_NEWNET) != 0) die("setns");
  close(namespace);
  int device = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (device < 0) die("/dev/net/tun");
  if (ioctl(device, TUNSETIFF, &request) != 0) die("TUNSETIFF");
  int header = sizeof(struct virtio_net_hdr);
  if (ioctl(device, TUNSETVNETHDRSZ, &header) != 0) die("TUNSETVNETHDRSZ");
  unsigned long offload = TUN_F_CSUM;
  if (segmentation) offload |= TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  if (ioctl(device, TUNSETOFFLOAD, offload) != 0) die("TUNSETOFFLOAD");
  if (setns(own_namespace, CLONE_NEWNET) != 0) die("setns back");
  return device;
}

static void line_init(struct line *line, const char *name, int from, int to,
                      const struct options *options) {
  uint64_t size = options->delay / 1000 * LINE_BYTES_PER_SECOND / 1000000 + MIN_RING_BYTES;
  *line = (struct line){.name = name, .from = from, .to = to, .size = size, .end = size};
  line->ring =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (line->ring == MAP_FAILED) die("no memory for the ring");
}

/* Records start where a struct record may. */
static size_t record_size(size_t length) {
  size_t align = sizeof(struct record);
  return sizeof(struct record) + (length + align - 1) / align * align;
}

/* Space for the next record; NULL if the largest frame doesn't fit. */
static struct record *line_reserve(struct line *line) {
  size_t need = record_size(MAX_FRAME);
  if (line->records == 0) {
    line->head = line->tail = 0;
    line->end = line->size;
  }
  bool wrapped = line->records > 0 && line->tail <= line->head;
  if (wrapped)
    return line->head - line->tail >= need ? (struct record *)(line->ring + line->tail) : NULL;
  if (line->size - line->tail >= need) return (struct record *)(line->ring + line->tail);
  return line->head >= need ? (struct record *)line->ring : NULL;
}

static void line_commit(struct line *line, const struct record *record) {
  if ((const uint8_t *)record == line->ring && line->tail > 0) {
    line->end = line->tail;
    line->tail = 0;
  }
  line->tail += record_size(record->length);
  line->records++;
}

static const struct record *line_first(const struct line *line) {
  return line->records == 0 ? NULL : (const struct record *)(line->ring + line->head);
}

static void line_pop(struct line *line) {
  line->head += record_size(line_first(line)->length);
  line->records--;
  if (line->head == line->end) {
    line->head = 0;
    line->end = line->size;
  }
}

/**
 * When the last bit of a packet has arrived at the far end; 0 when the buffer before the slow link
 * is full.
 */
static uint64_t arrival(struct line *line, uint64_t now, uint64_t bytes,
                        const struct options *options) {
  if (options->rate == 0) return now + options->delay;
  if (line->free_at < now) line->free_at = now;
  uint64_t waiting =
      (uint64_t)((double)(line->free_at - now) / (double)NANOSECONDS * (double)options->rate);
  if (waiting + bytes > options->backlog) return 0;
  line->free_at += bytes * NANOSECONDS / options->rate;
  return line->free_at + options->delay;
}

/* Reads the frames that wait in the device, at most READ_BATCH. */
static void line_take(struct line *line, const struct options *options, uint64_t *random) {
  static uint8_t refuse[MAX_FRAME];
  for (int i = 0; i < READ_BATCH; i++) {
    struct record *record = line_reserve(line);
    ssize_t length = read(line->from, record == NULL ? refuse : (uint8_t *)(record + 1), MAX_FRAME);
    if (length < 0) {
      if (errno == EAGAIN || errno == EINTR) return;
      die("reading a device");
    }
    if (record == NULL) {
      line->dropped++;
      continue;
    }
    if (options->loss > 0 && random_fraction(random) < options->loss) {
      line->lost++;
      continue;
    }
    record->length = (uint64_t)length;
    record->release =
        arrival(line, clock_now(), record->length - sizeof(struct virtio_net_hdr), options);
    if (record->release == 0)
      line->dropped++;
    else
      line_commit(line, record);
  }
}

/* Delivers all frames that are due; returns when the next one is, UINT64_MAX when there is none. */
static uint64_t line_release(struct line *line) {
  const struct record *record;
  uint64_t now = 0;
  while ((record = line_first(line)) != NULL) {
    if (record->release > now && record->release > (now = clock_now())) return record->release;
    if (write(line->to, record + 1, record->length) == (ssize_t)record->length) {
      line->passed++;
      line->bytes += record->length - sizeof(struct virtio_net_hdr);
    } else {
      /* The device isn't up yet, or is no longer up (EIO), like an unplugged cable. */
      line->rejected++;
    }
    line_pop(line);
  }
  return UINT64_MAX;
}

static void line_report(const struct line *line) {
  fprintf(stderr,
          "delayline: %s: %" PRIu64 " packets, %" PRIu64 " bytes, %" PRIu64
          " lost at random, %" PRIu64 " dropped for lack of room, %" PRIu64
          " rejected by the device\n",
          line->name, line->passed, line->bytes, line->lost, line->dropped, line->rejected);
}

int main(int argc, char **argv) {
  struct options options = parse_options(argc, argv);

  sigset_t stops, before;
  sigemptyset(&stops);
  sigaddset(&stops, SIGTERM);
  sigaddset(&stops, SIGINT);
  sigprocmask(SIG_BLOCK, &stops, &before);
  sigdelset(&before, SIGTERM);
  sigdelset(&before, SIGINT);
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);

  /**
   * The delay must not grow when the machine is busy. Both calls may fail; then the delay is less
   * exact.
   */
  (void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  (void)setpriority(PRIO_PROCESS, 0, -20);

  int own_namespace = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  if (own_namespace < 0) die("/proc/self/ns/net");
  bool segmentation = options.loss == 0 && options.rate == 0;
  int left = open_device(options.ends[0], segmentation, own_namespace);
  int right = open_device(options.ends[1], segmentation, own_namespace);
  struct line lines[2];
  line_init(&lines[0], "left to right", left, right, &options);
  line_init(&lines[1], "right to left", right, left, &options);
  uint64_t random = options.seed;
  puts("ready");
  fflush(stdout);

  struct pollfd waits[] = {
      {.fd = left, .events = POLLIN}, {.fd = right, .events = POLLIN}, {.fd = STDIN_FILENO}};
  while (!stopped && waits[2].revents == 0) {
    uint64_t due = line_release(&lines[0]);
    uint64_t other = line_release(&lines[1]);
    if (other < due) due = other;
    uint64_t now = clock_now();
    uint64_t wait = due > now ? due - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(wait / NANOSECONDS),
                               .tv_nsec = (long)(wait % NANOSECONDS)};
    if (ppoll(waits, 3, due == UINT64_MAX ? NULL : &timeout, &before) < 0) {
      if (errno != EINTR) die("ppoll");
      continue;
    }
    for (int i = 0; i < 2; i++)
      if (waits[i].revents != 0) line_take(&lines[i], &options, &random);
  }
  line_report(&lines[0]);
  line_report(&lines[1]);
  return 0;
}
