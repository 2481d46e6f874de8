/*
 * protocol.h - the messages between the program and the launcher of `tunnel exec`.
 *
 * A SOCK_SEQPACKET pair, one message per packet, all integers in host byte order (both ends run on
 * this machine). Every message begins with struct launcher_header. A message whose length isn't
 * exactly what its type demands ends the launcher.
 *
 *   program  -> launcher  SETUP       addresses, MTU, the text of resolv.conf
 *   launcher -> program   DESCRIPTOR  with the TUN's descriptor (SCM_RIGHTS)
 *   launcher -> program   READY       the namespaces are set up; the user that the command will
 *                                     run as
 *   program  -> launcher  GO          captured connections are being answered: run the command,
 *                                     with these variables
 *   launcher -> program   FAILED      instead of READY, or after GO: the step, errno, a detail
 *
 * After GO the launcher becomes the command, which closes its end of the socket (close-on-exec). So
 * an end without FAILED means that the command runs. The launcher exits if the socket closes before
 * GO.
 */
#ifndef TUNNEL_LAUNCHER_PROTOCOL_H
#define TUNNEL_LAUNCHER_PROTOCOL_H

#include <stdint.h>

/* Exit statuses, the same as those of env(1) and shells. */
#define LAUNCHER_EXIT_FAILED 125
#define LAUNCHER_EXIT_CANNOT_EXECUTE 126
#define LAUNCHER_EXIT_NOT_FOUND 127

#define LAUNCHER_MAGIC 0x434e4c54u /* "TLNC" */
#define LAUNCHER_VERSION 5u

enum launcher_type {
  LAUNCHER_SETUP = 1,
  LAUNCHER_DESCRIPTOR = 2,
  LAUNCHER_READY = 3,
  LAUNCHER_GO = 4,
  LAUNCHER_FAILED = 5,
};

struct launcher_header {
  uint32_t magic;
  uint16_t version;
  uint16_t type;
  uint32_t length; /* of the whole message */
};

#define LAUNCHER_ISOLATE 1u /* the command must not use the host's services to resolve names */
/*
 * Takes the command and the environment from the program's own command line and environment
 * (words.h).
 */
#define LAUNCHER_VERBATIM 2u
/*
 * No namespaces: the command runs in the host's network. Addresses and MTU are ignored; there is no
 * DESCRIPTOR.
 */
#define LAUNCHER_IN_PLACE 4u
/*
 * In place, and for the caller of sudo or doas: the command is the program itself, once more,
 * without any privilege and without the means to gain one. It is executed by the path that is
 * given, and what ./tunnel has set aside from Node stays aside. If there is no such caller, root
 * keeps everything.
 */
#define LAUNCHER_AS_CALLER 8u
#define LAUNCHER_MAX_RESOLV_CONF 8192u /* bytes */
#define LAUNCHER_MAX_VARIABLES 65536u  /* bytes */

struct launcher_setup {
  struct launcher_header header;
  uint32_t flags;
  uint32_t mtu;        /* 1280-65535 */
  uint8_t address4[4]; /* the device's own addresses, /24 and /64 */
  uint8_t address6[16];
  uint32_t descriptors; /* the command's soft limit on descriptors (RLIMIT_NOFILE); 0: unchanged */
  uint32_t resolv_conf_length;
  /* char resolv_conf[resolv_conf_length] */
};

struct launcher_descriptor {
  struct launcher_header header;
};

#define LAUNCHER_NO_RESOLV_CONF 1u /* there is no /etc/resolv.conf that could be replaced */
#define LAUNCHER_HAS_IPV6 2u       /* the device has its IPv6 address */

struct launcher_ready {
  struct launcher_header header;
  uint32_t notes;
  char device[16];
  /*
   * The user and group that the command will run as: the program's, or under sudo and doas their
   * caller's.
   */
  uint32_t uid;
  uint32_t gid;
};

struct launcher_go {
  struct launcher_header header;
  /*
   * char variables[]: changes to the environment, each ends in a NUL. "NAME=VALUE" sets, "NAME"
   * removes.
   */
};

enum launcher_step {
  LAUNCHER_STEP_REQUEST = 1,    /* malformed or out of order */
  LAUNCHER_STEP_NAMESPACES = 2, /* unshare(2) */
  LAUNCHER_STEP_MAPPING = 3,    /* detail: the file in /proc/self */
  LAUNCHER_STEP_OPEN_TUN = 4,
  LAUNCHER_STEP_CREATE_TUN = 5,
  LAUNCHER_STEP_NETWORK = 6,    /* detail: address, route or device, and the kernel's message */
  LAUNCHER_STEP_MOUNT = 8,      /* detail: the path */
  LAUNCHER_STEP_PRIVILEGES = 9, /* could not be given up; detail: which */
  LAUNCHER_STEP_EXECUTE = 10,   /* execve(2) of the command */
};

struct launcher_failed {
  struct launcher_header header;
  uint32_t step;
  int32_t error;    /* errno */
  char detail[116]; /* NUL-terminated text without control characters */
};

/* src/system/launcher/protocol.ts reads and writes these with fixed offsets. */
_Static_assert(sizeof(struct launcher_header) == 12, "header");
_Static_assert(sizeof(struct launcher_setup) == 48, "setup");
_Static_assert(sizeof(struct launcher_descriptor) == 12, "descriptor");
_Static_assert(sizeof(struct launcher_ready) == 40, "ready");
_Static_assert(sizeof(struct launcher_go) == 12, "go");
_Static_assert(sizeof(struct launcher_failed) == 136, "failed");

#endif
