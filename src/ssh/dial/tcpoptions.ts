/**
 * What Node can't set or read of TCP sockets. This is the only file that uses a socket's file
 * descriptor.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Addon, addon } from '../../native/addon.ts';

/** The kernel takes a signed 32-bit number. */
const MAX_USER_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * The connection ends with ETIMEDOUT if the peer's kernel acknowledges none of the sent data for
 * `milliseconds` (TCP_USER_TIMEOUT: RFC 5482, tcp(7)). By default, the kernel retransmits for a
 * quarter of an hour. This complements keepalives, which an SSH connection can't send while it is
 * full of unsent data. Returns false if it can't be set: descriptors are internal to Node, and a
 * future version may hide them better. We then rely on keepalives alone.
 */
export function setUserTimeout(socket: Socket, milliseconds: number): boolean {
  const bounded = Math.min(Math.round(milliseconds), MAX_USER_TIMEOUT_MS);
  return setOption(socket, (native, fd) => native.setTcpUserTimeout(fd, bounded));
}

/**
 * While `bytes` are unsent, the kernel accepts no more data (TCP_NOTSENT_LOWAT, tcp(7)). Otherwise
 * its buffer may contain megabytes, and the next request would wait behind all of it. Data that has
 * been sent but not acknowledged doesn't count, so throughput stays the same. Returns false if it
 * can't be set, or if `socket` isn't a TCP socket. The next request then waits longer.
 */
export function limitUnsent(socket: Duplex, bytes: number): boolean {
  return setOption(socket, (native, fd) => native.setTcpUnsentLimit(fd, bytes));
}

/**
 * Makes the kernel send a delayed acknowledgement now (TCP_QUICKACK, tcp(7)). If there is no data
 * to send, the kernel delays it by up to 40 ms. The option doesn't stay set: call this again for
 * later data. Returns false as above.
 */
export function acknowledge(socket: Duplex): boolean {
  return setOption(socket, (native, fd) => native.setTcpQuickAck(fd, 1));
}

/**
 * How many bytes the peer's kernel has acknowledged so far. undefined: that can't be seen, because
 * `socket` isn't a TCP socket of this program.
 */
export function acknowledgedBytes(socket: Duplex): number | undefined {
  return withDescriptor(socket, (native, fd) => native.tcpAcknowledged(fd));
}

function setOption(socket: Duplex, set: (native: Addon, fd: number) => void): boolean {
  const done = withDescriptor(socket, (native, fd) => {
    set(native, fd);
    return true;
  });
  return done ?? false;
}

function withDescriptor<T>(socket: Duplex, call: (native: Addon, fd: number) => T): T | undefined {
  const { _handle: handle } = socket as unknown as { _handle?: { readonly fd?: unknown } | null };
  const fd = handle?.fd;
  if (typeof fd !== 'number' || !Number.isInteger(fd) || fd < 0) return undefined;
  try {
    return call(addon(), fd);
  } catch {
    // No addon, not a TCP socket, or a kernel without this option.
    return undefined;
  }
}
