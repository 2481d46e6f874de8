#include "seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) && !defined(__ILP32__)
#define OWN_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && defined(__AARCH64EL__) && !defined(__ILP32__)
#define OWN_ARCHITECTURE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define OWN_ARCHITECTURE AUDIT_ARCH_RISCV64
#elif defined(__arm__) && defined(__ARMEL__)
#define OWN_ARCHITECTURE AUDIT_ARCH_ARM
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define OWN_ARCHITECTURE AUDIT_ARCH_PPC64LE
#else
/* cppcheck-suppress preprocessorErrorDirective; it tries without any architecture */
#error "the number of this architecture in linux/audit.h is not known here"
#endif

/* All are little-endian, so the lower half of an argument comes first. */
#define ARGUMENT(index) \
  (offsetof(struct seccomp_data, args) + (index) * sizeof((struct seccomp_data *)0)->args[0])

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000u /* before Linux 4.14 this is read as KILL */
#endif

#define MAX_INSTRUCTIONS 256u

struct program {
  size_t length; /* of those that are too many as well */
  struct sock_filter instructions[MAX_INSTRUCTIONS];
};

static void append(struct program *program, uint16_t code, uint32_t value, uint8_t if_not) {
  if (program->length < MAX_INSTRUCTIONS)
    program->instructions[program->length] =
        (struct sock_filter){.code = code, .jt = 0, .jf = if_not, .k = value};
  program->length++;
}

static void load(struct program *program, size_t offset) {
  append(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0);
}

/* Goes on with the next instruction if the loaded value is this one, else skips some. */
static void unless(struct program *program, uint32_t value, size_t skipped) {
  append(program, BPF_JMP | BPF_JEQ | BPF_K, value, (uint8_t)skipped);
}

static void end(struct program *program, uint32_t action) {
  append(program, BPF_RET | BPF_K, action, 0);
}

static void begin(struct program *program, uint32_t other_architecture) {
  program->length = 0;
  load(program, offsetof(struct seccomp_data, arch));
  append(program, BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCHITECTURE, 0);
  program->instructions[1].jt = 1;
  end(program, other_architecture);
  load(program, offsetof(struct seccomp_data, nr));
}

#ifndef WITHOUT_SECCOMP
/* `all`: for the process's other threads as well, which take over no_new_privs. */
static int install(const struct program *program, bool all) {
  const unsigned threads = all ? SECCOMP_FILTER_FLAG_TSYNC : 0;
  if (program->length > MAX_INSTRUCTIONS) return -E2BIG;
  const struct sock_fprog filter = {.len = (unsigned short)program->length,
                                    .filter = (struct sock_filter *)program->instructions};
#ifdef SECCOMP_FILTER_FLAG_SPEC_ALLOW
  /* Without it kernels before 5.16 slow the process down against Speculative Store Bypass. */
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, threads | SECCOMP_FILTER_FLAG_SPEC_ALLOW,
              &filter) == 0)
    return 0;
#endif
  if (all) {
    const long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, threads, &filter);
    /* Positive: a thread that has a filter which this one lacks. */
    return result == 0 ? 0 : result > 0 ? -ECANCELED : -errno;
  }
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) < 0 ? -errno : 0;
}
#else
static int install(const struct program *program, bool all) {
  (void)all;
  return program->length > MAX_INSTRUCTIONS ? -E2BIG : 0;
}
#endif

int seccomp_allow_only(const struct seccomp_call *calls, size_t count) {
  struct program program;

  begin(&program, SECCOMP_RET_KILL_PROCESS);
  for (size_t i = 0; i < count; i++) {
    const struct seccomp_call *call = &calls[i];
    if (call->value_count == 0) {
      unless(&program, (uint32_t)call->number, 1);
      end(&program, SECCOMP_RET_ALLOW);
      continue;
    }
    if (call->value_count > SECCOMP_MAX_VALUES) return -EINVAL;
    unless(&program, (uint32_t)call->number, 2 + 2 * call->value_count);
    load(&program, ARGUMENT(call->argument));
    for (size_t at = 0; at < call->value_count; at++) {
      unless(&program, call->values[at], 1);
      end(&program, SECCOMP_RET_ALLOW);
    }
    end(&program, SECCOMP_RET_KILL_PROCESS);
  }
  end(&program, SECCOMP_RET_KILL_PROCESS);
  return install(&program, false);
}

int seccomp_refuse_roots(bool all_threads) {
  static const int refused[] = {
      SYS_acct,        SYS_clock_settime, SYS_delete_module, SYS_finit_module,
      SYS_init_module, SYS_reboot,        SYS_swapoff,       SYS_swapon,
#ifdef SYS_kexec_load
      SYS_kexec_load,
#endif
#ifdef SYS_kexec_file_load
      SYS_kexec_file_load,
#endif
#ifdef SYS_settimeofday
      SYS_settimeofday,
#endif
#ifdef SYS_clock_settime64
      SYS_clock_settime64,
#endif
#ifdef SYS_ioperm
      SYS_ioperm,
#endif
  };

  struct program program;

  begin(&program, SECCOMP_RET_ALLOW);
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    unless(&program, (uint32_t)refused[i], 1);
    end(&program, SECCOMP_RET_ERRNO | EPERM);
  }
  end(&program, SECCOMP_RET_ALLOW);
  return install(&program, all_threads);
}
