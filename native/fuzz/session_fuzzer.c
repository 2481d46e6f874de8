/*
 * session_fuzzer.c - the whole conversation of the helper with a program that says anything, on
 * a kernel that somebody else changes, too (kernel.h). The TUN and the socket are stand-ins.
 *
 * What holds in spite of the input: HELLO comes first, each request has one answer, what was
 * answered with DONE is in force, a refused ROUTES changes nothing, and at the end the device is
 * gone and its descriptor is closed.
 *
 * Input: an octet for who the program's user is, then steps (enum step).
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "fuzz/check.h"
#include "fuzz/input.h"
#include "fuzz/kernel.h"
#include "netlink_message.h"

static int fuzz_poll(struct pollfd *ready, nfds_t count, int timeout);
static int fuzz_close(int fd);
static int fuzz_clock(clockid_t clock, struct timespec *now);
#define poll fuzz_poll
#define close fuzz_close
#define clock_gettime fuzz_clock
#include "helper/session.c"
#include "helper/watch.c"
#undef poll
#undef close
#undef clock_gettime

#define SOCKET 70
#define SIGNALS 71
#define MARK 72
#define TUN 73
#define SURPLUS 74
#define MAX_PREFIXES 40u

enum step {
  RAW,         /* any octets as a message */
  CREATE,      /* families, MTU */
  ROUTES,      /* prefixes */
  UNREACHABLE, /* prefixes */
  FAILURE,     /* the n-th change of the kernel fails */
  ROUTE,       /* somebody adds a route */
  REMOVAL,     /* somebody removes a route, which the kernel reports */
  DOWN,        /* somebody sets the device down, or deletes it */
  NOTICE,      /* any octets as a notification */
  LATER,       /* time passes */
  DEAF,        /* the program doesn't read any more */
  STEPS
};

static struct input input;
static enum step step;
static struct session session;
static struct netlink_route before[KERNEL_MAX_ROUTES];
static size_t before_count, answered;
static bool said_hello, deaf, descriptor_passed, tun_closed;
static int64_t now_ms;
static uint16_t asked;

static void read_prefix(struct helper_prefix *prefix) {
  const uint8_t kind = input_u8(&input);
  *prefix = (struct helper_prefix){.family = (kind & 1) != 0 ? 6 : 4,
                                   .length = input_u8(&input),
                                   .flags = (kind & 2) != 0 ? HELPER_PREFERRED : 0};
  if ((kind & 8) != 0) prefix->flags |= HELPER_SHARED;
  const unsigned bits = prefix->family == 4 ? 32 : 128;
  input_take(&input, prefix->address, bits / 8);
  if ((kind & 4) != 0) return; /* as it is */
  if (prefix->length > bits) prefix->length = (uint8_t)bits;
  for (unsigned bit = prefix->length; bit < bits; bit++)
    prefix->address[bit / 8] &= (uint8_t)~(0x80u >> bit % 8);
}

static size_t write_prefixes(struct routes_request *message) {
  const size_t count = input_u8(&input) % MAX_PREFIXES;
  for (size_t i = 0; i < count; i++) read_prefix(&message->prefixes[i]);
  message->routes.count = (uint32_t)count;
  return sizeof message->routes + count * sizeof message->prefixes[0];
}

/* The program's next message. */
static size_t write_message(uint8_t *buffer, size_t capacity) {
  size_t length = sizeof(struct helper_create);
  switch (step) {
    case CREATE:
      request.create = (struct helper_create){
          .families = input_u8(&input) % 8, .mtu = input_u16(&input)};
      break;
    case ROUTES:
    case UNREACHABLE:
      length = write_prefixes(&request.routes);
      break;
    default:
      length = input_u16(&input);
      length = input_take(&input, buffer, length < capacity ? length : capacity);
      asked = length >= sizeof request.header ? request.header.type : 0;
      return length;
  }
  asked = step == CREATE ? HELPER_CREATE : step == ROUTES ? HELPER_ROUTES : HELPER_UNREACHABLE;
  request.header = header_of((enum helper_type)asked, length);
  return length;
}

ssize_t fd_receive(int socket, void *buffer, size_t capacity, int *fd) {
  CHECK(socket == SOCKET && buffer == (void *)&request && capacity == sizeof request);
  *fd = -1;
  only_readable(buffer, capacity, capacity);
  if (input.left == 0) return 0;
  const size_t length = write_message(buffer, capacity);
  only_readable(buffer, capacity, length);
  before_count = machine.route_count;
  memcpy(before, machine.routes, before_count * sizeof *before);
  answered = 0;
  if (step == RAW && length > 0 && *(uint8_t *)buffer == 0xff) *fd = SURPLUS;
  return (ssize_t)length;
}

static bool is_same(const struct netlink_route *a, const struct netlink_route *b) {
  return netlink_prefix_equal(&a->destination, &b->destination) && a->ifindex == b->ifindex &&
         a->metric == b->metric && a->type == b->type;
}

/* Whether the device has a route to the prefix, with the metric that is meant. */
static bool has_route(const struct netlink_prefix *prefix) {
  const uint32_t metric = netlink_route_metric(prefix);
  for (size_t i = 0; i < machine.route_count; i++) {
    const struct netlink_route *route = &machine.routes[i];
    if (route->table != RT_TABLE_MAIN || route->metric != metric) continue;
    if (!netlink_prefix_equal(&route->destination, prefix)) continue;
    if (route->ifindex == KERNEL_DEVICE) return true;
  }
  return false;
}

/* What DONE says of the captured prefixes. */
static void check_in_force(void) {
  size_t ours = 0;
  for (size_t i = 0; i < machine.route_count; i++)
    ours += machine.routes[i].ifindex == KERNEL_DEVICE;
  CHECK(ours == routes_current.count + machine.address_count);
  for (size_t i = 0; asked == HELPER_ROUTES && i < routes_wanted.count; i++) {
    size_t at;
    CHECK(routes_find(&routes_current, &routes_wanted.prefixes[i], &at));
    CHECK(has_route(&routes_wanted.prefixes[i]));
  }
}

static void check_answer(const struct helper_header *header) {
  switch (header->type) {
    case HELPER_CREATED:
      CHECK(asked == HELPER_CREATE && machine.device && machine.up);
      return;
    case HELPER_DONE:
      CHECK(asked == HELPER_ROUTES || asked == HELPER_UNREACHABLE);
      if (!machine.disturbed) check_in_force();
      return;
    default: {
      const struct helper_failed *failed = (const struct helper_failed *)header;
      CHECK(header->type == HELPER_FAILED);
      CHECK(strnlen(failed->detail, sizeof failed->detail) < sizeof failed->detail);
      for (const char *at = failed->detail; *at != '\0'; at++) CHECK(*at >= 0x20 && *at < 0x7f);
      if (asked != HELPER_ROUTES || machine.disturbed) return;
      CHECK(machine.route_count == before_count);
      for (size_t i = 0; i < before_count; i++) {
        size_t at = 0;
        while (at < before_count && !is_same(&machine.routes[at], &before[i])) at++;
        CHECK(at < before_count);
      }
    }
  }
}

int fd_send(int socket, const void *message, size_t length, int fd, int flags) {
  const struct helper_header *header = message;
  CHECK(socket == SOCKET && header->length == length);
  CHECK((flags & MSG_DONTWAIT) != 0); /* nobody waits for a program that doesn't read */
  CHECK(said_hello == (header->type != HELPER_HELLO));
  said_hello = true;
  CHECK((fd >= 0) == (header->type == HELPER_CREATED));
  if (fd >= 0) {
    CHECK(fd == TUN && !descriptor_passed && !tun_closed);
    descriptor_passed = true;
  }
  if (header->type != HELPER_HELLO) check_answer(header);
  CHECK(++answered <= 2); /* of a request, or of what was lost after it */
  return deaf ? -EAGAIN : 0;
}

static int fuzz_close(int fd) {
  CHECK(fd == TUN || fd == SURPLUS);
  if (fd == TUN) {
    CHECK(!tun_closed);
    tun_closed = true;
  }
  return 0;
}

static int fuzz_clock(clockid_t clock, struct timespec *now) {
  (void)clock;
  *now = (struct timespec){.tv_sec = now_ms / 1000, .tv_nsec = now_ms % 1000 * 1000000};
  return 0;
}

static void somebodys_route(void) {
  const uint8_t kind = input_u8(&input);
  struct helper_prefix prefix;
  read_prefix(&prefix);
  const unsigned bits = prefix.family == 4 ? 32 : 128;
  struct netlink_route route = {
      .destination = {.family = prefix.family,
                      .length = prefix.length < bits ? prefix.length : (uint8_t)bits},
      .table = RT_TABLE_MAIN,
      .metric = kind % 8,
      .ifindex = (kind & 8) != 0 ? 0 : KERNEL_OTHER,
      .protocol = (kind & 16) != 0 ? NETLINK_ROUTE_PROTOCOL : RTPROT_STATIC,
      .type = (kind & 8) != 0 ? RTN_UNREACHABLE : RTN_UNICAST,
      .gateway_count = (kind & 32) != 0};
  memcpy(route.destination.address, prefix.address, sizeof prefix.address);
  route.destination = netlink_prefix_shortened(&route.destination, route.destination.length);
  route.gateways[0] = (struct netlink_prefix){
      .family = prefix.family, .length = (uint8_t)bits, .address = {10, kind}};
  if (machine.route_count < KERNEL_MAX_ROUTES / 4) kernel_add_route(&route);
}

/* RTM_DELROUTE, as the kernel reports it. */
static void notify_removal(const struct netlink_route *route) {
  const int family = netlink_family(&route->destination);
  const struct rtmsg body = {.rtm_family = (uint8_t)family,
                             .rtm_dst_len = route->destination.length,
                             .rtm_table = RT_TABLE_MAIN,
                             .rtm_protocol = route->protocol,
                             .rtm_type = route->type};
  struct netlink_request message;
  struct nlmsghdr *header =
      netlink_request_begin(&message, RTM_DELROUTE, 0, &body, sizeof body);
  netlink_attribute(header, RTA_DST, route->destination.address, netlink_address_size(family));
  netlink_attribute(header, RTA_OIF, &route->ifindex, sizeof route->ifindex);
  kernel_notify(message.data, NLMSG_ALIGN(header->nlmsg_len));
}

static void remove_route(void) {
  const size_t at = input_u8(&input);
  if (at >= machine.route_count) return;
  notify_removal(&machine.routes[at]);
  if (machine.routes[at].ifindex == KERNEL_DEVICE) machine.disturbed = true;
  memmove(&machine.routes[at], &machine.routes[at + 1],
          (machine.route_count - at - 1) * sizeof machine.routes[0]);
  machine.route_count--;
}

static void set_down(void) {
  const struct ifinfomsg body = {.ifi_index = KERNEL_DEVICE};
  struct netlink_request message;
  struct nlmsghdr *header =
      netlink_request_begin(&message, RTM_NEWLINK, 0, &body, sizeof body);
  machine.disturbed = true;
  if (input_u8(&input) % 2 == 0)
    machine.up = false;
  else
    kernel_remove_device();
  kernel_notify(message.data, header->nlmsg_len);
}

/* What happens beside the program's messages. Returns whether it says something now. */
static bool is_message(void) {
  uint8_t octets[256];
  step = (enum step)(input_u8(&input) % STEPS);
  switch (step) {
    case FAILURE:
      machine.fails_in = 1 + input_u8(&input) % 32;
      machine.fails_with = 1 + input_u8(&input) % 120;
      return false;
    case ROUTE:
      somebodys_route();
      return false;
    case REMOVAL:
      remove_route();
      return false;
    case DOWN:
      set_down();
      return false;
    case NOTICE: {
      const size_t length = input_take(&input, octets, input_u8(&input));
      kernel_notify(octets, length);
      return false;
    }
    case LATER:
      now_ms += 100 * input_u16(&input);
      return false;
    case DEAF:
      deaf = true;
      return false;
    default:
      return true;
  }
}

static int fuzz_poll(struct pollfd *ready, nfds_t count, int timeout) {
  CHECK(count == 4 && timeout >= -1 && timeout <= PERMIT_GRACE_MS);
  CHECK(ready[0].fd == SOCKET && ready[1].fd == SIGNALS && ready[2].fd == KERNEL_NOTICES);
  for (nfds_t i = 0; i < count; i++) ready[i].revents = 0;
  ready[0].revents = input.left == 0 || is_message() ? POLLIN : 0;
  answered = 0;
  if (kernel_has_notice()) ready[2].revents = POLLIN;
  return 1;
}

int tun_create(int fd, char name[IF_NAMESIZE]) {
  CHECK(fd == TUN && !machine.device);
  machine.device = true;
  strcpy(name, "tun0");
  return 0;
}

void mark_answer(struct mark *mark) { CHECK(mark == NULL); }
int mark_pause(const struct mark *mark) { return mark == NULL; }
void resolvers_read(struct resolvers *resolvers) { resolvers->count = 0; }
bool resolvers_have(const struct resolvers *resolvers, const struct netlink_prefix *prefix) {
  return resolvers->count > 0 && prefix == NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input = (struct input){.at = data, .left = size};
  const uint8_t who = input_u8(&input);
  kernel_reset();
  ASAN_UNPOISON_MEMORY_REGION(&session, sizeof session);
  memset(&session, 0, sizeof session);
  session.socket = SOCKET;
  session.signals = SIGNALS;
  session.tun = (who & 0x80) != 0 ? -ENOENT : TUN;
  session.watch.notices.fd = KERNEL_NOTICES;
  session.mark.socket = MARK;
  strcpy(session.mark.text, "tunnel-helper 0123456789abcdef");
  session.permit.unlimited = (who & 1) != 0;
  session.permit.administrator = (who & 2) != 0;
  session.permit.rules.usual = (who & 4) == 0;
  session.permit.rules.local = (who & 8) != 0;
  routes_current.count = routes_wanted.count = 0;
  said_hello = deaf = descriptor_passed = false;
  tun_closed = session.tun < 0;
  answered = 0;
  now_ms = 1000;
  session_run(&session);
  CHECK(said_hello && tun_closed && session.tun < 0);
  CHECK(!machine.device || machine.disturbed);
  return 0;
}
