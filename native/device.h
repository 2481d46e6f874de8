/*
 * device.h - a TUN with virtio headers: one frame a call, without waiting.
 *
 * A frame is a struct virtio_net_hdr (10 bytes, as with IFF_VNET_HDR) and an IP packet. A TUN takes
 * and gives one frame with each system call, so a batch is a loop of these calls.
 */
#ifndef TUNNEL_DEVICE_H
#define TUNNEL_DEVICE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* A frame's header, and at most this many parts of payload. */
#define DEVICE_MAX_PARTS 4

/**
 * Makes the descriptor non-blocking, and lets the calling thread be woken without haste. 0 or
 * -errno.
 */
int device_prepare(int fd);

/* Reads one frame. Its length; 0 when none waits; -errno when the device is gone. */
ssize_t device_read(int fd, uint8_t *into, size_t capacity);

/* Writes one frame. 0 or -errno: what the device doesn't take is lost, as on any network. */
int device_write(int fd, const struct iovec *parts, int count);

#endif
