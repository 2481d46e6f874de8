/**
 * The options of clients' sockets: TCP_NODELAY, since the front answers in small pieces, and
 * keepalives, since a client on another host may vanish without a word.
 *
 * On Linux a socket is accepted with the options of its listener, so they are set there, once.
 * Where that can't be done, each client's socket gets them, in five system calls.
 */
import type { Server, Socket } from 'node:net';
import { isLinux } from '../../base/platform.ts';
import { addon } from '../../native/addon.ts';

/** As at the device (capture/tun/keepalive.ts). */
export const CLIENT_KEEPALIVE_MS = 300_000;
/** As libuv has it for the sockets that Node sets: seconds between probes, and how many. */
const PROBE_SECONDS = 1;
const PROBES = 10;

/** For a server that listens. Returns whether the sockets that it accepts will have the options. */
export function setForAccepted(server: Server): boolean {
  // Descriptors are internal to Node, and a future version may hide them better.
  const { _handle: handle } = server as unknown as { _handle?: { readonly fd?: unknown } | null };
  const fd = handle?.fd;
  if (!isLinux() || typeof fd !== 'number' || !Number.isInteger(fd) || fd < 0) return false;
  try {
    addon().setAcceptedOptions(fd, CLIENT_KEEPALIVE_MS / 1000, PROBE_SECONDS, PROBES);
    return true;
  } catch {
    return false; // no addon
  }
}

export function setForClient(socket: Socket): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, CLIENT_KEEPALIVE_MS);
}
