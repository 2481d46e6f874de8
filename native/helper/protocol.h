/*
 * protocol.h - what the program and its privileged helper say to each other.
 *
 * A SOCK_SEQPACKET Unix socket, one message a packet, all integers in host byte order (both ends
 * run on this machine). Every message begins with struct helper_header; a message whose length
 * isn't exactly what its type demands ends the conversation. The program listens in a directory of
 * its own (0700); the helper connects to it, and both check the other's credentials (SO_PEERCRED):
 * the program that the helper runs as root, the helper that the program runs as the user who asked
 * for the helper (SUDO_UID, DOAS_USER, or the real uid).
 *
 *   helper  -> program   HELLO     version, pid
 *   program -> helper    CREATE    families, MTU           once
 *   helper  -> program   CREATED   device and addresses    with the TUN descriptor (SCM_RIGHTS)
 *   program -> helper    ROUTES    the whole set of captured prefixes; may be repeated, the helper
 * adds and removes the difference helper  -> program   DONE helper  -> program   FAILED    instead
 * of HELLO, CREATED or DONE: at which step, errno, what it was about
 *
 * The program sends one request and waits for its answer. Unasked comes only FAILED at the step
 * LOST, and then the end: somebody has taken the device, its addresses or routes away, and what was
 * captured would go out by another way. After a failed ROUTES the set before it is in force and the
 * conversation goes on; after any other FAILED the helper undoes everything and ends. When the
 * socket closes, or the program shuts its sending side, the helper deletes the device (and with it
 * addresses and routes) and exits; its own end of the socket closes when that is done.
 */
#ifndef TUNNEL_HELPER_PROTOCOL_H
#define TUNNEL_HELPER_PROTOCOL_H

#include <stdint.h>

/**
 * Exit statuses, so that a failure of the helper isn't taken for a refusal of sudo or doas (which
 * exit with 1).
 */
#define HELPER_EXIT_SETUP 70 /* one line on stderr says what is wrong */
#define HELPER_EXIT_NOT_ROOT 77

#define HELPER_MAGIC 0x4c4e5554u /* "TUNL" */
#define HELPER_VERSION 1u

enum helper_type {
  HELPER_HELLO = 1,
  HELPER_CREATE = 2,
  HELPER_CREATED = 3,
  HELPER_ROUTES = 4,
  HELPER_DONE = 5,
  HELPER_FAILED = 6,
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
};

#define HELPER_IPV4 1u
#define HELPER_IPV6 2u

struct helper_create {
  struct helper_header header;
  uint32_t families; /* HELPER_IPV4 | HELPER_IPV6 */
  uint32_t mtu;      /* 1280-65535 */
};

/**
 * The device is `address4`/24 and `address6`/64; the other addresses of these blocks are the
 * program's to use.
 */
struct helper_created {
  struct helper_header header;
  uint32_t ifindex;
  char name[16];
  uint8_t address4[4]; /* zero if not asked for */
  uint8_t address6[16];
};

struct helper_prefix {
  uint8_t family; /* 4 or 6 */
  uint8_t length; /* 0-32 or 0-128; a prefix with host bits set is refused */
  uint8_t reserved[2];
  uint8_t address[16]; /* IPv4 in the first 4 octets, the rest zero */
};

#define HELPER_MAX_PREFIXES 8192u

struct helper_routes {
  struct helper_header header;
  uint32_t count; /* <= HELPER_MAX_PREFIXES */
  /* struct helper_prefix prefixes[count] */
};

struct helper_done {
  struct helper_header header;
};

enum helper_step {
  HELPER_STEP_PRIVILEGES =
      1, /* root without CAP_NET_ADMIN, or privileges that can't be dropped; detail: which */
  HELPER_STEP_OPEN_TUN = 2, /* /dev/net/tun: ENOENT no such device node, ENXIO no driver, EPERM */
  HELPER_STEP_CREATE_TUN = 3,
  HELPER_STEP_ADDRESS =
      4, /* detail: the address and the kernel's reason. EADDRNOTAVAIL: every block is in use */
  HELPER_STEP_LINK_UP = 5,
  HELPER_STEP_ROUTE = 6, /* detail: the prefix, then the device that has it already (EEXIST: another
                            route) or has some of it (EBUSY: another tunnel's; the prefix is what
                            both would have) or the kernel's reason */
  HELPER_STEP_REQUEST = 7, /* malformed or out of order */
  HELPER_STEP_LOST =
      8, /* detail: what happened ("tun0 was set down", "route 10.0.0.0/8 was removed") */
};

struct helper_failed {
  struct helper_header header;
  uint32_t step;
  int32_t error;    /* errno */
  char detail[116]; /* NUL-terminated text without control characters */
};

/* src/system/helper/protocol.ts reads and writes these with fixed offsets. */
_Static_assert(sizeof(struct helper_header) == 12, "header");
_Static_assert(sizeof(struct helper_hello) == 16, "hello");
_Static_assert(sizeof(struct helper_create) == 20, "create");
_Static_assert(sizeof(struct helper_created) == 52, "created");
_Static_assert(sizeof(struct helper_prefix) == 20, "prefix");
_Static_assert(sizeof(struct helper_routes) == 16, "routes");
_Static_assert(sizeof(struct helper_failed) == 136, "failed");

#endif
