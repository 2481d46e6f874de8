/*
 * seccomp.h - filters of system calls (seccomp(2)). A filter stays for good, also over execve(2);
 * it needs no_new_privs or CAP_SYS_ADMIN. In a build under sanitizers, which need calls of their
 * own, the functions do nothing (WITHOUT_SECCOMP).
 *
 * Numbers that the kernel's headers don't have on an architecture are left out with #ifdef where
 * the lists stand.
 */
#ifndef TUNNEL_SECCOMP_H
#define TUNNEL_SECCOMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECCOMP_MAX_VALUES 4u

struct seccomp_call {
  int number; /* SYS_* */
  /* With `values`: only if the argument with this index, as 32 bits, is one of them. */
  unsigned argument;
  size_t value_count;
  uint32_t values[SECCOMP_MAX_VALUES];
};

/* Every other call kills the process. Returns 0 or a negative errno. */
int seccomp_allow_only(const struct seccomp_call *calls, size_t count);

/*
 * Calls that only root of the machine can use fail with EPERM, all others go on. Programs for
 * another architecture (32-bit ones) are not filtered. `all_threads`: of the process, not of this
 * thread alone; with the filter they get this thread's no_new_privs. Returns 0 or a negative errno.
 */
int seccomp_refuse_roots(bool all_threads);

#endif
