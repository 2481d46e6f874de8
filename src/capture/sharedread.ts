/**
 * Sockets that read into one buffer. Node takes fresh memory for each read, 64 KiB of it: at hundreds of megabytes a second most of
 * the garbage collector's work, and never in the processor's cache. Here what a socket has read is only lent: it is valid
 * until the listener of 'data' returns, and is read over by the next socket.
 *
 * net.Socket documents this (`onread`), but only for sockets that one makes oneself; one that net.Server has accepted is made
 * anew around its handle, which is not documented. If handles should change, it stays as it is.
 */
import { Socket } from 'node:net';
import type { NearStream } from './capture.ts';

/** What libuv reads at a time. */
const BUFFER_BYTES = 64 * 1024;

/** What is used of a socket that net.Server has accepted. */
interface Accepted {
  _handle: object | null;
  _server: object | null;
}

const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);

/** `accepted` must not have begun to read (`pauseOnConnect`), and is not to be used any more: its connection is the result's. */
export function readingIntoShared(accepted: Socket): Socket & Pick<NearStream, 'lendsChunks'> {
  const internal = accepted as unknown as Accepted;
  const { _handle: handle, _server: server } = internal;
  if (handle === null || !('useUserBuffer' in handle) || server === null) return accepted;
  internal._handle = null;
  internal._server = null;
  const socket: Socket = new Socket({
    handle,
    allowHalfOpen: true,
    // Not before somebody listens.
    pauseOnCreate: true,
    onread: {
      buffer,
      callback: (length: number) => {
        socket.emit('data', buffer.subarray(0, length));
        return true;
      },
    },
  } as ConstructorParameters<typeof Socket>[0]);
  // So that the server's count of connections, for which its close() waits, comes right.
  (socket as unknown as Accepted)._server = server;
  return Object.assign(socket, { lendsChunks: true });
}
