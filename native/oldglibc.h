/*
 * oldglibc.h - included before everything else in the prebuilt files for glibc (scripts/prebuilds),
 * so that they run with an older glibc than that of the machine where they are built.
 *
 * The linker takes the newest version of a function. Some got a new one when glibc 2.32 to 2.34
 * moved libpthread and libdl into libc, without another behaviour; so the oldest is asked for. The
 * functions of stat(2) became functions in glibc 2.33, so the kernel is asked directly; its
 * structure is the same on these architectures. The headers of glibc 2.38 and later replace
 * strtol(3) and its kind by functions that also read C23's "0b"; nothing here needs them.
 */
#ifndef OLDGLIBC_H
#define OLDGLIBC_H

#include <features.h>

#undef __GLIBC_USE_C2X_STRTOL
#define __GLIBC_USE_C2X_STRTOL 0
#undef __GLIBC_USE_C23_STRTOL
#define __GLIBC_USE_C23_STRTOL 0

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OLDGLIBC "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define OLDGLIBC "GLIBC_2.17"
#else
#error "the first version of glibc for this architecture is not known here"
#endif

__asm__(".symver dlsym, dlsym@" OLDGLIBC);
__asm__(".symver pthread_create, pthread_create@" OLDGLIBC);
__asm__(".symver pthread_join, pthread_join@" OLDGLIBC);
__asm__(".symver pthread_once, pthread_once@" OLDGLIBC);
__asm__(".symver pthread_sigmask, pthread_sigmask@" OLDGLIBC);

static inline int oldglibc_stat(const char *path, struct stat *status, int flags) {
  return (int)syscall(SYS_newfstatat, AT_FDCWD, path, status, flags);
}

static inline int oldglibc_fstat(int fd, struct stat *status) {
  return (int)syscall(SYS_fstat, fd, status);
}

#define stat(path, status) oldglibc_stat(path, status, 0)
#define lstat(path, status) oldglibc_stat(path, status, AT_SYMLINK_NOFOLLOW)
#define fstat(fd, status) oldglibc_fstat(fd, status)

#endif
