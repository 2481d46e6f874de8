/* tun.h - the TUN device (Documentation/networking/tuntap.rst). */
#ifndef TUNNEL_TUN_H
#define TUNNEL_TUN_H

#include <net/if.h>

/*
 * How many frames may wait in the device to be read, to be set when it is brought up; the kernel's
 * default of 500 is too few. Once in the device a frame no longer counts against its socket, so
 * nothing but TCP's windows holds a sender back: the first windows alone of 200 uploads are 2,000
 * frames. What finds no room is lost, and TCP sends it again out of order. This many are one for
 * each flow that the program carries at most (MAX_FLOWS in src/flow/flows.ts). It costs one pointer
 * a frame; not more, because a flood of datagrams can fill it with frames of 64 KiB while the
 * program doesn't read.
 */
#define TUN_QUEUE_FRAMES 8192u

/*
 * Opens /dev/net/tun: non-blocking, close-on-exec. Returns the descriptor or a negative errno:
 * ENOENT when there is no such device node, ENODEV when the kernel has no driver behind it, EACCES
 * or EPERM when it may not be opened.
 */
int tun_open(void);

/*
 * Makes a new device behind `fd`, with virtio headers (struct virtio_net_hdr, 10 bytes) and
 * checksum and TCP segmentation offload, in the network namespace in which `fd` was opened. The
 * device isn't persistent: it vanishes with the last copy of the descriptor. Needs CAP_NET_ADMIN.
 * Returns its ifindex or a negative errno.
 */
int tun_create(int fd, char name[IF_NAMESIZE]);

#endif
