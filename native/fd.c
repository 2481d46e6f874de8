#include "fd.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * More than the one that a message may carry, so that surplus descriptors are seen and closed here.
 */
#define FD_MAX_RECEIVED 4

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2) /* linux/close_range.h, before glibc 2.34 */
#endif

int fd_send(int socket, const void *message, size_t length, int fd, int flags) {
  struct iovec part = {.iov_base = (void *)message, .iov_len = length};
  union {
    struct cmsghdr align;
    char data[CMSG_SPACE(sizeof(int))];
  } control;
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

  if (fd >= 0) {
    memset(&control, 0, sizeof control);
    header.msg_control = &control;
    header.msg_controllen = sizeof control.data;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  for (;;) {
    ssize_t sent = sendmsg(socket, &header, flags | MSG_NOSIGNAL);
    if (sent >= 0) return (size_t)sent == length ? 0 : -EMSGSIZE;
    if (errno != EINTR) return -errno;
  }
}

/* Keeps the first descriptor in `*kept`, closes the others. */
static void take_descriptors(struct msghdr *header, int *kept) {
  for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item != NULL;
       item = CMSG_NXTHDR(header, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(item) + i * sizeof fd, sizeof fd);
      if (*kept < 0)
        *kept = fd;
      else
        close(fd);
    }
  }
}

ssize_t fd_receive(int socket, void *buffer, size_t capacity, int *fd) {
  struct iovec part = {.iov_base = buffer, .iov_len = capacity};
  union {
    struct cmsghdr align;
    char data[CMSG_SPACE(FD_MAX_RECEIVED * sizeof(int))];
  } control;
  struct msghdr header;
  ssize_t length;

  *fd = -1;
  do {
    header = (struct msghdr){.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.data};
    length = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (length < 0 && errno == EINTR);
  if (length < 0) return -errno;

  take_descriptors(&header, fd);
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
    return -EMSGSIZE;
  }
  return length;
}

int fd_peer(int socket, struct ucred *peer) {
  socklen_t size = sizeof *peer;
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, peer, &size) < 0 ? -errno : 0;
}

void fd_close_from(int first) {
#ifdef SYS_close_range
  if (syscall(SYS_close_range, (unsigned)first, UINT_MAX, 0) == 0) return;
#endif
  /* Before Linux 5.9 */
  const long limit = sysconf(_SC_OPEN_MAX);
  for (int fd = first; fd < limit; fd++) close(fd);
}

void fd_keep_from_children(int first) {
#ifdef SYS_close_range
  (void)syscall(SYS_close_range, (unsigned)first, UINT_MAX, CLOSE_RANGE_CLOEXEC);
#else
  (void)first;
#endif
}
