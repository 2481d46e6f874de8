/* tun.h - the TUN device (Documentation/networking/tuntap.rst). */
#ifndef TUNNEL_TUN_H
#define TUNNEL_TUN_H

#include <net/if.h>

/*
 * How many frames may wait in the device to be read; set when it is brought up. The kernel's
 * default of 500 is too small. A frame in the device no longer counts against its socket, so only
 * TCP's windows limit a sender, and the first windows of 200 uploads are already 2,000 frames.
 * Frames that don't fit are lost, and TCP sends them again out of order. This number allows one
 * frame for each flow that the program carries at most (MAX_FLOWS in src/flow/flows.ts). It costs
 * one pointer per frame. It isn't larger, because a flood of datagrams can fill the queue with
 * frames of 64 KiB while the program doesn't read.
 */
#define TUN_QUEUE_FRAMES 8192u

/*
 * Opens /dev/net/tun: non-blocking, close-on-exec. Returns the descriptor or a negative errno:
 * ENOENT if there is no such device node, ENODEV if the kernel has no driver for it, EACCES or
 * EPERM if it may not be opened.
 */
int tun_open(void);

/*
 * Makes a new device for `fd`, with virtio headers (struct virtio_net_hdr, 10 bytes) and checksum
 * and TCP segmentation offload, in the network namespace in which `fd` was opened. The device isn't
 * persistent: it vanishes with the last copy of the descriptor. Needs CAP_NET_ADMIN. Returns 0 or a
 * negative errno.
 */
int tun_create(int fd, char name[IF_NAMESIZE]);

#endif
