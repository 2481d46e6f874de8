/**
 * The options of clients' sockets: TCP_NODELAY, since the front answers in small pieces, and
 * keepalives, since a client on another host may vanish without a word.
 *
 * Sockets of the native part are accepted with the options of their listener. Each of Node's gets
 * them by itself.
 */
import type { Socket } from 'node:net';

/** As at the device (capture/tun/keepalive.ts). */
export const CLIENT_KEEPALIVE_MS = 300_000;
/** As libuv has it for the sockets that Node sets: seconds between probes, and how many. */
export const PROBE_SECONDS = 1;
export const PROBES = 10;

export function setForClient(socket: Socket): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, CLIENT_KEEPALIVE_MS);
}
