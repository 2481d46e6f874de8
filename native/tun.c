#include "tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

#define TUN_NODE "/dev/net/tun"
/* The kernel fills in the lowest free number. */
#define TUN_NAME "tun%d"

int tun_open(void) {
  int fd = open(TUN_NODE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd >= 0) return fd;
  /*
   * Without the driver, the error is ENXIO or ENODEV, depending on whether the kernel knows the
   * node's number.
   */
  return errno == ENXIO ? -ENODEV : -errno;
}

int tun_create(int fd, char name[IF_NAMESIZE]) {
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  memcpy(request.ifr_name, TUN_NAME, sizeof TUN_NAME);
  if (ioctl(fd, TUNSETIFF, &request) < 0) return -errno;
  if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0) return -errno;

  memcpy(name, request.ifr_name, IF_NAMESIZE);
  name[IF_NAMESIZE - 1] = '\0';
  return 0;
}
