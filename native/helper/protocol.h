/*
 * protocol.h - the messages between the program and its privileged helper.
 *
 * A SOCK_SEQPACKET Unix socket, one message per packet, all integers in host byte order (both ends
 * run on this machine). Every message begins with struct helper_header. A message whose length
 * isn't exactly what its type demands ends the conversation. The program listens in its own
 * directory (0700), and the helper connects. Each checks the other's credentials (SO_PEERCRED): the
 * helper must run as root, and the program as the user who asked for the helper (SUDO_UID,
 * DOAS_USER, or the real uid). Or systemd listens at HELPER_SOCKET, the program connects, and the
 * helper is started with the connection; then the program's user is whoever the kernel says.
 *
 *   helper  -> program   HELLO     version, pid, what was removed
 *   program -> helper    CREATE    families, MTU           once
 *   helper  -> program   CREATED   device and addresses    with the TUN descriptor (SCM_RIGHTS)
 *   program -> helper    ROUTES    the whole set of captured prefixes; may be repeated, the helper
 *                                  adds and removes the difference
 *   program -> helper    UNREACHABLE  the whole set of prefixes that stay unreachable when the
 *                                  device is gone (unreachable.h). An empty set may come before
 *                                  CREATE: then only what other tunnels have left is removed.
 *   helper  -> program   DONE      to ROUTES and UNREACHABLE
 *   helper  -> program   FAILED    instead of HELLO, CREATED or DONE: the step, errno, a detail
 *
 * The program sends one request and waits for its answer. The only message that may come at any
 * time is FAILED at step LOST or PERMIT, which then is the last one: somebody has removed the
 * device, its addresses or routes, and captured traffic would leave by another route; or what was
 * captured belongs to a network that the machine has joined, and no ROUTES without it has come in
 * time (permit.h). After a failed ROUTES or UNREACHABLE the conversation goes on: the old set of
 * routes stays in force, of the other perhaps only a part. After any other FAILED the helper undoes
 * everything, except what UNREACHABLE has set, and ends.
 * When the socket closes, or the program shuts down its sending side, the helper deletes the device
 * (and with it addresses and routes) and exits; its own end of the socket closes after that.
 */
#ifndef TUNNEL_HELPER_PROTOCOL_H
#define TUNNEL_HELPER_PROTOCOL_H

#include <stdint.h>

/* Exit statuses that differ from that of sudo and doas, which exit with 1 when they refuse. */
#define HELPER_EXIT_SETUP 70 /* one line on stderr says what is wrong */
#define HELPER_EXIT_NOT_ROOT 77

/* Where systemd listens (packaging/systemd). */
#define HELPER_SOCKET "/run/tunnel/helper.sock"

#define HELPER_MAGIC 0x4c4e5554u /* "TUNL" */
#define HELPER_VERSION 4u

enum helper_type {
  HELPER_HELLO = 1,
  HELPER_CREATE = 2,
  HELPER_CREATED = 3,
  HELPER_ROUTES = 4,
  HELPER_DONE = 5,
  HELPER_FAILED = 6,
  HELPER_UNREACHABLE = 16,
};

struct helper_header {
  uint32_t magic;
  uint16_t version;
  uint16_t type;
  uint32_t length; /* of the whole message */
};

struct helper_hello {
  struct helper_header header;
  int32_t pid;
  char removed[96]; /* devices that killed helpers had left behind, each with a space after it */
};

#define HELPER_IPV4 1u
#define HELPER_IPV6 2u

struct helper_create {
  struct helper_header header;
  uint32_t families; /* HELPER_IPV4 | HELPER_IPV6 */
  uint32_t mtu;      /* 1280-65535 */
};

/*
 * The device's addresses are `address4`/24 and `address6`/64. The program may use the other
 * addresses of these blocks.
 */
struct helper_created {
  struct helper_header header;
  uint32_t ifindex;
  char name[16];
  uint8_t address4[4]; /* zero if not requested */
  uint8_t address6[16];
};

#define HELPER_PREFERRED 1u /* it wins over somebody else's route to the same prefix */
#define HELPER_SHARED 2u    /* other tunnels may have it as well (routes.h); of one address only */

struct helper_prefix {
  uint8_t family; /* 4 or 6 */
  uint8_t length; /* 0-32 or 0-128; a prefix with host bits set is refused */
  uint8_t flags;
  uint8_t reserved;
  uint8_t address[16]; /* IPv4 in the first 4 octets, the rest zero */
};

#define HELPER_MAX_PREFIXES 8192u

/* ROUTES and UNREACHABLE */
struct helper_routes {
  struct helper_header header;
  uint32_t count; /* <= HELPER_MAX_PREFIXES */
  /* struct helper_prefix prefixes[count] */
};

struct helper_done {
  struct helper_header header;
};

enum helper_step {
  /* Root without CAP_NET_ADMIN, or privileges that can't be dropped. Detail: which. */
  HELPER_STEP_PRIVILEGES = 1,
  /* /dev/net/tun. ENOENT: no such device node; ENODEV: no driver; EPERM. */
  HELPER_STEP_OPEN_TUN = 2,
  HELPER_STEP_CREATE_TUN = 3,
  /* Detail: the address and the kernel's message. EADDRNOTAVAIL: every block is in use. */
  HELPER_STEP_ADDRESS = 4,
  HELPER_STEP_LINK_UP = 5,
  /*
   * Detail: the prefix, then the kernel's message or a device. EINVAL: a prefix of UNREACHABLE that
   * is not captured. EEXIST: the device of a route to the
   * same prefix. EBUSY: the device of another tunnel; the prefix is what both would capture.
   */
  HELPER_STEP_ROUTE = 6,
  /* Malformed or out of order. */
  HELPER_STEP_REQUEST = 7,
  /* Detail: what happened ("tun0 was set down", "route 10.0.0.0/8 was removed"). */
  HELPER_STEP_LOST = 8,
  /*
   * The caller may not capture a prefix (permit.h). Detail: the prefix, then "special RANGE NAME",
   * "connected NETWORK DEVICE", "gateway ADDRESS", "wide" (shorter than the default permits),
   * "much" (in all), or "unlisted". EPERM; another errno if it can't be found out. ESTALE: it
   * comes at any time, as LOST, because the machine has joined a network; "* unknown ERRNO" if it
   * can't be found out then.
   */
  HELPER_STEP_PERMIT = 9,
  /* /etc/tunnel/helper.conf can't be trusted. Detail: why, with the line. */
  HELPER_STEP_RULES = 10,
};

struct helper_failed {
  struct helper_header header;
  uint32_t step;
  int32_t error;    /* errno */
  char detail[116]; /* NUL-terminated text without control characters */
};

/* src/system/helper/protocol.ts reads and writes these with fixed offsets. */
_Static_assert(sizeof(struct helper_header) == 12, "header");
_Static_assert(sizeof(struct helper_hello) == 112, "hello");
_Static_assert(sizeof(struct helper_create) == 20, "create");
_Static_assert(sizeof(struct helper_created) == 52, "created");
_Static_assert(sizeof(struct helper_prefix) == 20, "prefix");
_Static_assert(sizeof(struct helper_routes) == 16, "routes");
_Static_assert(sizeof(struct helper_failed) == 136, "failed");

#endif
