/* tun.h - the TUN device (Documentation/networking/tuntap.rst). */
#ifndef TUNNEL_TUN_H
#define TUNNEL_TUN_H

#include <net/if.h>

/*
 * Opens /dev/net/tun: non-blocking, close-on-exec. Returns the descriptor or a negative errno: ENOENT when there is no
 * such device node, ENODEV when the kernel has no driver behind it, EACCES or EPERM when it may not be opened.
 */
int tun_open(void);

/*
 * Makes a new device behind `fd`, with virtio headers (struct virtio_net_hdr, 10 bytes) and checksum and TCP
 * segmentation offload, in the network namespace in which `fd` was opened. The device isn't persistent: it vanishes
 * with the last copy of the descriptor. Needs CAP_NET_ADMIN. Returns its ifindex or a negative errno.
 */
int tun_create(int fd, char name[IF_NAMESIZE]);

#endif
