/**
 * Options of TCP sockets that Node has no call for. The only place that looks at a socket's
 * descriptor.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Addon, addon } from '../../native/addon.ts';

/** The kernel's own is a signed number of 32 bits. */
const MAX_USER_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * After `milliseconds` in which the peer's kernel has acknowledged nothing of what was sent, the
 * connection ends with ETIMEDOUT (RFC 5482, tcp(7)) and not after the quarter of an hour for which
 * the kernel repeats it by default. It complements keepalives, which an SSH connection that is full
 * of unsent data can't send. False when it can't be set: Node keeps its sockets' descriptors to
 * itself, and a future one may hide them better; keepalives must do then.
 */
export function setUserTimeout(socket: Socket, milliseconds: number): boolean {
  const bounded = Math.min(Math.round(milliseconds), MAX_USER_TIMEOUT_MS);
  return setOption(socket, (native, fd) => native.setTcpUserTimeout(fd, bounded));
}

/**
 * While `bytes` have not been sent the kernel takes no more (TCP_NOTSENT_LOWAT, tcp(7)): its buffer
 * may be megabytes, and what is asked for next would wait behind all of it. What has been sent and
 * not acknowledged doesn't count, so that throughput stays. False when it can't be set, or `socket`
 * is none of TCP's: then what is asked for next waits longer.
 */
export function limitUnsent(socket: Duplex, bytes: number): boolean {
  return setOption(socket, (native, fd) => native.setTcpUnsentLimit(fd, bytes));
}

/**
 * Has what has come acknowledged now, if an acknowledgement is being delayed (TCP_QUICKACK,
 * tcp(7)), which it is for up to 40 ms when there is nothing to send. The option doesn't stay: it
 * is set again for whatever comes next. False as above.
 */
export function acknowledge(socket: Duplex): boolean {
  return setOption(socket, (native, fd) => native.setTcpQuickAck(fd, 1));
}

function setOption(socket: Duplex, set: (native: Addon, fd: number) => void): boolean {
  const { _handle: handle } = socket as unknown as { _handle?: { readonly fd?: unknown } | null };
  const fd = handle?.fd;
  if (typeof fd !== 'number' || !Number.isInteger(fd) || fd < 0) return false;
  try {
    set(addon(), fd);
    return true;
  } catch {
    // No addon, not a TCP socket, or a kernel that knows no such option: the caller is told that
    // there is none.
    return false;
  }
}
