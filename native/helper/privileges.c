#include "privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "caller.h"
#include "seccomp.h"

#define STACK_BYTES (8u << 20)

bool privileges_caller(uid_t *caller) {
  const char *wrong = caller_find(caller);

  if (wrong != NULL) fprintf(stderr, "tunnel-helper: %s\n", wrong);
  clearenv();
  return wrong == NULL;
}

static int capabilities_get(struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  return syscall(SYS_capget, &header, data) < 0 ? -errno : 0;
}

static int capabilities_set(uint32_t first) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  const struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
      {.effective = first, .permitted = first}};
  return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* Without CAP_SETPCAP the bounding set stays, but no_new_privs makes it ineffective. */
static int bounding_set_drop(bool may) {
  for (unsigned long capability = 0; may && prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0;
       capability++)
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) return -errno;
  return 0;
}

/* Writes a file of /proc or /sys. Where it doesn't exist or is read-only, nothing can be done. */
static void write_if_possible(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return;
  const ssize_t written = write(fd, text, strlen(text));
  (void)written;
  close(fd);
}

/* Sets a soft limit to at least `least`, and the hard one if that is lower. */
static int limit_raise(int resource, rlim_t least) {
  struct rlimit limit;

  if (getrlimit(resource, &limit) < 0) return -errno;
  if (limit.rlim_cur >= least) return 0;
  limit.rlim_cur = least;
  if (limit.rlim_max < least) limit.rlim_max = least;
  return setrlimit(resource, &limit) < 0 ? -errno : 0;
}

int privileges_detach(const char **what) {
  *what = "RLIMIT_CPU";
  int result = limit_raise(RLIMIT_CPU, RLIM_INFINITY);
  if (result < 0) return result;
  *what = "RLIMIT_STACK";
  if ((result = limit_raise(RLIMIT_STACK, STACK_BYTES)) < 0) return result;
  const struct sched_param normal = {.sched_priority = 0};
  (void)sched_setscheduler(0, SCHED_OTHER, &normal);
  (void)setpriority(PRIO_PROCESS, 0, 0);
  write_if_possible("/proc/self/oom_score_adj", "-1000");
  /* The roots of the hierarchies that systemd uses. */
  write_if_possible("/sys/fs/cgroup/cgroup.procs", "0");
  write_if_possible("/sys/fs/cgroup/unified/cgroup.procs", "0");
  write_if_possible("/sys/fs/cgroup/systemd/cgroup.procs", "0");
  return 0;
}

static int reduce(uint32_t kept, const char **what) {
  struct __user_cap_data_struct held[_LINUX_CAPABILITY_U32S_3];
  int result;

  *what = "capabilities";
  if ((result = capabilities_get(held)) < 0) return result;
  *what = "CAP_NET_ADMIN";
  if ((held[0].permitted & kept) != kept) return -EPERM;

  *what = "capability bounding set";
  if ((result = bounding_set_drop((held[0].effective & CAP_TO_MASK(CAP_SETPCAP)) != 0)) < 0)
    return result;

  /* Root of a container may lack CAP_SETGID. Its groups stay: they permit root nothing more. */
  *what = "groups";
  const bool may_set_groups = (held[0].effective & CAP_TO_MASK(CAP_SETGID)) != 0;
  if (may_set_groups && getgroups(0, NULL) > 0 && setgroups(0, NULL) < 0) return -errno;
  *what = "change of user";
  if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) return -errno;

  *what = "capabilities";
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) return -errno;
  if ((result = capabilities_set(kept)) < 0) return result;
  *what = "no_new_privs";
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
  *what = "dumpable";
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return -errno;
  *what = "RLIMIT_CORE";
  return setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) < 0 ? -errno : 0;
}

int privileges_drop(const char **what) { return reduce(CAP_TO_MASK(CAP_NET_ADMIN), what); }

int privileges_none(const char **what) { return reduce(0, what); }

int privileges_filter(void) {
  const struct seccomp_call calls[] = {
      /* fd.c, netlink.c, resolvers.c, mark.c */
      {.number = SYS_sendmsg},
      {.number = SYS_recvmsg},
      {.number = SYS_sendto},
      {.number = SYS_recvfrom},
#ifdef SYS_send
      {.number = SYS_send},
      {.number = SYS_recv},
#endif
      {.number = SYS_accept4},
      {.number = SYS_close},
      {.number = SYS_getpid},
      /* poll(2) */
#ifdef SYS_poll
      {.number = SYS_poll},
#endif
      {.number = SYS_ppoll},
#ifdef SYS_ppoll_time64
      {.number = SYS_ppoll_time64},
#endif
      {.number = SYS_restart_syscall},
      /* tun.c */
      {.number = SYS_ioctl,
       .argument = 1,
       .value_count = 2,
       .values = {(uint32_t)TUNSETIFF, (uint32_t)TUNSETOFFLOAD}},
      /* watch.c, where the vDSO doesn't have it */
      {.number = SYS_clock_gettime},
#ifdef SYS_clock_gettime64
      {.number = SYS_clock_gettime64},
#endif
      {.number = SYS_exit},
      {.number = SYS_exit_group},
  };
  return seccomp_allow_only(calls, sizeof calls / sizeof *calls);
}
