/** TCP_USER_TIMEOUT on a socket of Node's, which has no call for it. The only place that looks at a socket's descriptor. */
import type { Socket } from 'node:net';
import { addon } from '../native.ts';

/**
 * After `milliseconds` in which the peer's kernel has acknowledged nothing of what was sent, the connection ends with ETIMEDOUT
 * (RFC 5482, tcp(7)) and not after the quarter of an hour for which the kernel repeats it by default. It complements
 * keepalives, which an SSH connection that is full of unsent data can't send. False when it can't be set: Node keeps its
 * sockets' descriptors to itself, and a future one may hide them better; keepalives must do then.
 */
export function setUserTimeout(socket: Socket, milliseconds: number): boolean {
  const { _handle: handle } = socket as unknown as { _handle?: { readonly fd?: unknown } | null };
  const fd = handle?.fd;
  if (typeof fd !== 'number' || !Number.isInteger(fd) || fd < 0) return false;
  try {
    addon().setTcpUserTimeout(fd, Math.round(milliseconds));
    return true;
  } catch {
    // No addon, not a TCP socket, or a kernel that knows no such option: the caller is told that there is none.
    return false;
  }
}
