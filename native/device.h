/*
 * device.h - reads and writes a TUN with virtio headers: one frame per call, without waiting.
 *
 * A frame is a struct virtio_net_hdr (10 bytes, as with IFF_VNET_HDR) and an IP packet. A TUN
 * carries one frame per system call, so a batch is a loop of these calls.
 */
#ifndef TUNNEL_DEVICE_H
#define TUNNEL_DEVICE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* The header and payload of a frame may come in at most this many parts. */
#define DEVICE_MAX_PARTS 4

/* Makes the descriptor non-blocking, and the calling thread a batch thread. Returns 0 or -errno. */
int device_prepare(int fd);

/* Reads one frame. Returns its length, 0 if none waits, or -errno if the device is gone. */
ssize_t device_read(int fd, uint8_t *into, size_t capacity);

/* Writes one frame. Returns 0 or -errno: a frame that the device doesn't accept is lost. */
int device_write(int fd, const struct iovec *parts, int count);

#endif
