/*
 * tunnel-launcher FD [COMMAND [ARG...]] - runs one command in its own network, without root.
 *
 * `tunnel exec` starts it as its child; FD is this end of the socket between them (protocol.h). It
 * is a separate program because only a process with one thread can enter a user namespace, and Node
 * has many threads.
 *
 *   SETUP       is read; command and environment as bytes, if text won't do     words.c
 *   user        under sudo and doas: finds their caller                         user.c
 *   namespaces  user (uid and gid mapped onto themselves), network, mount       namespaces.c
 *   network     lo, a TUN with default routes; sends its descriptor             network.c
 *   mounts      resolv.conf; hides the sockets of the host's resolvers          mounts.c
 *   READY       is sent; the program answers GO when it captures
 *   command     no capabilities, no_new_privs, execve: becomes the command      command.c
 *
 * If the program has to do without namespaces (LAUNCHER_IN_PLACE), namespaces, network and mounts
 * are left out, and the command has the same privileges as without `tunnel exec`.
 *
 * It also starts the program itself for the caller of sudo or doas (LAUNCHER_AS_CALLER): in place,
 * without a privilege, and with an empty bounding set, which Node can't have in all its threads.
 *
 * The command is thus a child of `tunnel exec`, in its process group, with the caller's working
 * directory, environment, terminal and standard descriptors, and with default signal dispositions
 * (libuv starts children so). Until this process becomes the command, signals from the terminal
 * wait, because they are for the program. The namespaces live as long as a process is in them. Only
 * the program has the TUN's descriptor: when it ends for any reason, the device goes away, and the
 * remaining network leads nowhere.
 *
 * Without COMMAND it only checks whether all this is possible, and ends after READY. Nothing on the
 * host is changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fd.h"
#include "launcher/command.h"
#include "launcher/mounts.h"
#include "launcher/namespaces.h"
#include "launcher/network.h"
#include "launcher/user.h"
#include "launcher/words.h"

#define MTU_MIN 1280u /* RFC 8200, 5: IPv6's minimum */
#define MTU_MAX 65535u
#define MAX_FD 65535

static struct {
  struct launcher_setup setup;
  char resolv_conf[LAUNCHER_MAX_RESOLV_CONF];
} request;

static struct {
  struct launcher_go go;
  char variables[LAUNCHER_MAX_VARIABLES];
} answer; /* the environment keeps pointers to its variables */

static struct launcher_header header_of(enum launcher_type type, size_t length) {
  return (struct launcher_header){.magic = LAUNCHER_MAGIC,
                                  .version = LAUNCHER_VERSION,
                                  .type = (uint16_t)type,
                                  .length = (uint32_t)length};
}

/* Whether a message of `received` bytes has a header with this length and type. */
static bool header_is(const struct launcher_header *header, enum launcher_type type,
                      ssize_t received) {
  return received >= (ssize_t)sizeof *header && header->magic == LAUNCHER_MAGIC &&
         header->version == LAUNCHER_VERSION && header->type == type &&
         header->length == (size_t)received;
}

/*
 * Reads one message, and closes unexpected descriptors. Returns the length, 0 at the end, or a
 * negative errno.
 */
static ssize_t message_read(int socket, void *buffer, size_t capacity) {
  int surplus;
  ssize_t length = fd_receive(socket, buffer, capacity, &surplus);
  if (surplus >= 0) close(surplus);
  return length;
}

static bool is_flagged(uint32_t flag) { return (request.setup.flags & flag) != 0; }

static bool setup_read(int socket, struct fault *fault) {
  const struct launcher_setup *setup = &request.setup;
  const uint32_t flags =
      LAUNCHER_ISOLATE | LAUNCHER_VERBATIM | LAUNCHER_IN_PLACE | LAUNCHER_AS_CALLER;
  ssize_t length = message_read(socket, &request, sizeof request);

  if (length < (ssize_t)sizeof *setup || !header_is(&setup->header, LAUNCHER_SETUP, length))
    return fault_set(fault, LAUNCHER_STEP_REQUEST, length < 0 ? (int)length : EPROTO, "SETUP");
  if (setup->resolv_conf_length != (size_t)length - sizeof *setup || (setup->flags & ~flags) != 0 ||
      (is_flagged(LAUNCHER_AS_CALLER) && !is_flagged(LAUNCHER_IN_PLACE)) ||
      (!is_flagged(LAUNCHER_IN_PLACE) && (setup->mtu < MTU_MIN || setup->mtu > MTU_MAX)))
    return fault_set(fault, LAUNCHER_STEP_REQUEST, EPROTO, "SETUP");
  return true;
}

/* Sends the TUN's descriptor. After that the program has the only copy. */
static bool network_hand_over(int socket, const struct network *network, struct fault *fault) {
  const struct launcher_descriptor message = {.header =
                                                  header_of(LAUNCHER_DESCRIPTOR, sizeof message)};

  int result = fd_send(socket, &message, sizeof message, network->tun, 0);
  close(network->tun);
  return result == 0 || fault_set(fault, LAUNCHER_STEP_REQUEST, result, "DESCRIPTOR");
}

/*
 * Makes the namespaces and everything in them. A root with the privileges for it does so before
 * becoming the user; otherwise this process becomes the user first.
 */
static bool own_network_make(int socket, const struct user *user, struct launcher_ready *ready,
                             struct fault *fault) {
  const struct launcher_setup *setup = &request.setup;
  struct network network;
  bool replaced;

  if (!namespaces_is_privileged() && !user_become(user, fault)) return false;
  if (!namespaces_enter(fault) || !network_make(setup, user->gid, &network, fault)) return false;
  if (!mounts_make(request.resolv_conf, setup->resolv_conf_length, is_flagged(LAUNCHER_ISOLATE),
                   &replaced, fault))
    return false;
  if (!user_become(user, fault) || !command_unprivilege(fault) ||
      !network_hand_over(socket, &network, fault))
    return false;
  if (!replaced) ready->notes |= LAUNCHER_NO_RESOLV_CONF;
  if (network.ipv6) ready->notes |= LAUNCHER_HAS_IPV6;
  memcpy(ready->device, network.device, sizeof ready->device);
  return true;
}

/* Becomes the caller for good; with LAUNCHER_AS_CALLER without anything that is root's. */
static bool in_place(const struct user *user, struct fault *fault) {
  if (!is_flagged(LAUNCHER_AS_CALLER)) return user_become(user, fault);
  if (user->uid == getuid()) return true;
  return user_drop_bounding_set(fault) && user_become(user, fault) && command_unprivilege(fault);
}

static bool verbatim(int count, char **command, struct fault *fault) {
  if (!is_flagged(LAUNCHER_VERBATIM)) return true;
  /* The program's own first word may be a name to look for in PATH. */
  if (is_flagged(LAUNCHER_AS_CALLER) && count > 0)
    return words_take_verbatim(count - 1, command + 1, false, fault);
  return words_take_verbatim(count, command, true, fault);
}

/* Does everything up to READY. */
static bool prepare(int socket, int count, char **command, struct fault *fault) {
  struct launcher_ready ready = {.header = header_of(LAUNCHER_READY, sizeof ready)};
  static struct user user;

  if (!setup_read(socket, fault) || !user_find(&user, fault)) return false;
  if (!verbatim(count, command, fault)) return false;
  if (!(is_flagged(LAUNCHER_IN_PLACE) ? in_place(&user, fault)
                                      : own_network_make(socket, &user, &ready, fault)))
    return false;
  ready.uid = user.uid;
  ready.gid = user.gid;
  int result = fd_send(socket, &ready, sizeof ready, -1, 0);
  return result == 0 || fault_set(fault, LAUNCHER_STEP_REQUEST, result, "READY");
}

static int report(int socket, const struct fault *fault) {
  struct launcher_failed message = {.header = header_of(LAUNCHER_FAILED, sizeof message),
                                    .step = fault->step,
                                    .error = fault->error};
  memcpy(message.detail, fault->detail, sizeof message.detail);
  /* The program may be gone; the exit status says the same. */
  (void)fd_send(socket, &message, sizeof message, -1, 0);
  return command_failure_status(fault);
}

/* The descriptor number in `text`, made close-on-exec; -1 if it isn't a descriptor. */
static int socket_argument(const char *text) {
  char *end;

  errno = 0;
  long fd = strtol(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || fd < 0 || fd > MAX_FD) return -1;
  return fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0 ? -1 : (int)fd;
}

/* Before the command runs, the program handles Ctrl-C. */
static void hold_signals(sigset_t *before) {
  const int held[] = {SIGINT, SIGQUIT, SIGHUP, SIGTERM};
  sigset_t set;

  sigemptyset(&set);
  for (size_t i = 0; i < sizeof held / sizeof *held; i++) sigaddset(&set, held[i]);
  sigprocmask(SIG_BLOCK, &set, before);
}

int main(int argc, char **argv) {
  struct fault fault;
  sigset_t signals;

  int socket = argc < 2 ? -1 : socket_argument(argv[1]);
  if (socket < 0) {
    fputs("tunnel-launcher: only \"tunnel exec\" can start it\n", stderr);
    return LAUNCHER_EXIT_FAILED;
  }
  hold_signals(&signals);
  if (!prepare(socket, argc - 2, argv + 2, &fault)) return report(socket, &fault);
  if (argc == 2) return EXIT_SUCCESS;

  ssize_t length = message_read(socket, &answer, sizeof answer);
  if (length == 0) return LAUNCHER_EXIT_FAILED; /* the program has given up */
  if (!header_is(&answer.go.header, LAUNCHER_GO, length)) {
    fault_set(&fault, LAUNCHER_STEP_REQUEST, EPROTO, "GO");
  } else if (words_change_environment(answer.variables, (size_t)length - sizeof answer.go,
                                      &fault)) {
    sigprocmask(SIG_SETMASK, &signals, NULL);
    command_execute(argv + 2, request.setup.descriptors, &fault);
  }
  return report(socket, &fault);
}
