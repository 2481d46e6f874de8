#include "launcher/mounts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESOLV_CONF "/etc/resolv.conf"
/* Where the file is made before it is bound to its place. /etc exists if RESOLV_CONF does. */
#define STAGE "/etc"
#define STAGED STAGE "/resolv.conf"
#define FD_PATH 32
#define SSH_CONFIG_D "/etc/ssh/ssh_config.d"
/* Of files that become copies, and octets of each; ssh refuses the others. */
#define ADOPTED_MAX 64
#define ADOPTED_SIZE_MAX (32 * 1024)

/*
 * nss-resolve asks systemd-resolved, and glibc asks nscd, over sockets that work across network
 * namespaces: their answers would come from the host's network, past the policy. Versions of
 * systemd before 246 asked over D-Bus. Its socket stays visible, because it has many other uses.
 */
static const struct {
  const char *path;
  bool isolated_only;
} masked[] = {
    {"/run/systemd/resolve", false},
    {"/run/nscd", false},
    {"/var/run/nscd", false},
    {"/run/avahi-daemon", true}, /* nss-mdns: *.local in the host's network */
};

static bool mount_fault(struct fault *fault, const char *path) {
  return fault_set(fault, LAUNCHER_STEP_MOUNT, errno, "%s", path);
}

static int mount_empty(const char *path) {
  return mount("tunnel", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,mode=755");
}

static bool write_file(const char *path, const char *text, size_t length) {
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  /* Whatever the umask, all users of the namespace must be able to read the file. */
  ssize_t written = fchmod(fd, 0644) < 0 ? -1 : write(fd, text, length);
  if (written >= 0 && (size_t)written != length) errno = ENOSPC;
  const int error = errno;
  close(fd);
  errno = error;
  return written >= 0 && (size_t)written == length;
}

/*
 * Binds a file with this text to `path`. The file is in a separate file system that isn't mounted
 * anywhere else.
 */
static bool bind_text(const char *path, const char *text, size_t length) {
  char staged_path[FD_PATH], target_path[FD_PATH];

  int target = open(path, O_PATH | O_CLOEXEC);
  if (target < 0) return false;
  if (mount_empty(STAGE) < 0) {
    const int error = errno;
    close(target);
    errno = error;
    return false;
  }
  int staged = write_file(STAGED, text, length) ? open(STAGED, O_PATH | O_CLOEXEC) : -1;
  snprintf(staged_path, sizeof staged_path, "/proc/self/fd/%d", staged);
  snprintf(target_path, sizeof target_path, "/proc/self/fd/%d", target);
  bool bound = staged >= 0 && mount(staged_path, target_path, NULL, MS_BIND, NULL) == 0;
  int error = errno;
  if (staged >= 0) close(staged);
  close(target);
  if (umount2(STAGE, MNT_DETACH) < 0 && bound) return false;
  errno = error;
  return bound;
}

/* Hides a directory with an empty file system. A directory that doesn't exist needs nothing. */
static bool mask(const char *path, struct fault *fault) {
  if (mount_empty(path) == 0 || errno == ENOENT || errno == ENOTDIR) return true;
  return mount_fault(fault, path);
}

static bool is_beneath(const char *path, const char *directory) {
  const size_t length = strlen(directory);
  return strncmp(path, directory, length) == 0 && path[length] == '/';
}

/* Whether this user namespace has a user 0, which is then the owner of root's files. */
static bool has_root(void) {
  unsigned first = 0;
  FILE *map = fopen("/proc/self/uid_map", "re");
  if (map == NULL) return true;
  const bool read = fscanf(map, "%u", &first) == 1;
  fclose(map);
  return !read || first == 0;
}

/*
 * Replaces a file of somebody who isn't in this user namespace, and which nobody else may write, by
 * a copy of the user's own. What goes wrong leaves it as it is.
 */
static void adopt(const char *path) {
  char text[ADOPTED_SIZE_MAX];
  struct stat status;

  int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t length = -1;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid != geteuid() &&
      (status.st_mode & (S_IWGRP | S_IWOTH)) == 0 && status.st_size < (off_t)sizeof text)
    length = read(fd, text, sizeof text);
  close(fd);
  if (length == (ssize_t)status.st_size) (void)bind_text(path, text, (size_t)length);
}

/*
 * ssh reads no included file that belongs to neither root nor its user, and then doesn't start at
 * all ("Bad owner or permissions"). The system's ssh_config includes files of root's, whom a user
 * namespace without root doesn't know. This program takes settings in the same way.
 */
static void adopt_settings(void) {
  char path[PATH_MAX];
  unsigned count = 0;

  adopt("/etc/tunnel/config.yaml");
  adopt("/etc/crypto-policies/back-ends/openssh.config"); /* Fedora and its like */
  DIR *directory = opendir(SSH_CONFIG_D);
  if (directory == NULL) return;
  for (struct dirent *entry; count < ADOPTED_MAX && (entry = readdir(directory)) != NULL;) {
    const size_t length = strlen(entry->d_name);
    if (length < 5 || strcmp(entry->d_name + length - 5, ".conf") != 0) continue;
    snprintf(path, sizeof path, SSH_CONFIG_D "/%s", entry->d_name);
    adopt(path);
    count++;
  }
  closedir(directory);
}

bool mounts_make(const char *resolv_conf, size_t length, bool isolate, bool *replaced,
                 struct fault *fault) {
  char path[PATH_MAX];
  bool is_masked = false;

  /*
   * Later mounts and unmounts of the host still take effect here, so that the host can unmount a
   * disk.
   */
  if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) return mount_fault(fault, "/");
  *replaced = realpath(RESOLV_CONF, path) != NULL;
  if (!*replaced && errno != ENOENT) return mount_fault(fault, RESOLV_CONF);

  for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
    if (masked[i].isolated_only && !isolate) continue;
    if (!mask(masked[i].path, fault)) return false;
    is_masked = is_masked || (*replaced && is_beneath(path, masked[i].path));
  }
  if (!has_root()) adopt_settings();
  if (!*replaced) return true;
  /* With systemd-resolved RESOLV_CONF is a link to a file that has just been masked. */
  if (is_masked) return write_file(path, resolv_conf, length) || mount_fault(fault, path);
  return bind_text(path, resolv_conf, length) || mount_fault(fault, path);
}
