/**
 * Sockets that read into one buffer. Node takes fresh memory for each read, 64 KiB of it: at hundreds of megabytes a second most of
 * the garbage collector's work, and never in the processor's cache. Here what a socket has read is only lent: it is valid
 * until the listener of 'data' returns, and is read over by the next socket.
 *
 * net.Socket documents this (`onread`), but only for sockets that one makes oneself. What net.Server has accepted is therefore
 * taken over as a handle, before a socket is made of it, which is not documented. If handles should change, it is as it
 * always was.
 */
import { type Server, Socket } from 'node:net';
import type { NearStream } from './capture.ts';

/** What libuv reads at a time. */
const BUFFER_BYTES = 64 * 1024;

const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);

/** Of a net.Server that listens: what libuv's handle calls, and what net.Server keeps count with. */
interface Listening {
  readonly _handle: { onconnection: (error: number, handle: object | undefined) => void } | null;
  _connections: number;
}

/** A TCP connection as libuv hands it over. */
interface Handle {
  setNoDelay(on: boolean): void;
  useUserBuffer(buffer: Uint8Array): void;
}

/** Where an accepted socket keeps whose count it is in. */
interface Accepted {
  _server: Server;
}

export type SharedSocket = Socket & { lendsChunks?: NearStream['lendsChunks'] };

/**
 * Has `connected` called with each connection that `server`, which listens, accepts from now on: half-closable, without
 * delay (TCP_NODELAY), and not reading before somebody listens.
 */
export function acceptIntoShared(server: Server, connected: (socket: SharedSocket) => void): void {
  server.on('connection', connected);
  const listening = server as unknown as Listening;
  const { _handle: listener } = listening;
  if (typeof listener?.onconnection !== 'function' || typeof listening._connections !== 'number') return;
  const accept = listener.onconnection;
  listener.onconnection = (error, handle) => {
    if (error !== 0 || !isKnown(handle)) {
      accept.call(listener, error, handle);
      return;
    }
    handle.setNoDelay(true);
    const socket = lending(handle);
    // So that the server's count of connections, for which its close() waits, comes right.
    listening._connections++;
    (socket as unknown as Accepted)._server = server;
    connected(socket);
  };
}

function isKnown(handle: object | undefined): handle is Handle {
  return handle !== undefined && 'useUserBuffer' in handle && 'setNoDelay' in handle;
}

function lending(handle: Handle): SharedSocket {
  const socket: SharedSocket = new Socket({
    handle,
    allowHalfOpen: true,
    pauseOnCreate: true,
    onread: {
      buffer,
      callback: (length: number) => {
        socket.emit('data', buffer.subarray(0, length));
        return true;
      },
    },
  } as ConstructorParameters<typeof Socket>[0]);
  socket.lendsChunks = true;
  return socket;
}
