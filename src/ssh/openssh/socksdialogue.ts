/**
 * The SOCKS5 dialogue (RFC 1928) on a flow's socket, spoken by the `socks` library.
 *
 * The library would go on reading from the socket after the dialogue, and lose the far side's first
 * data if nobody listens in time. So it gets a stand-in for the socket, which feeds it the answer
 * octet by octet and reads nothing beyond it. The data that follows stays in the flow's buffer.
 */

import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { SocksClient } from 'socks';
import type { Destination } from '../../net/destination.ts';

/** The library requires a proxy address, but doesn't use it when the socket is connected. */
const PROXY = { host: 'localhost', port: 1, type: 5 } as const;

export interface DialogueOptions {
  readonly destination: Destination;
  /** Milliseconds until the library gives up. */
  readonly timeout: number;
  /** ssh has accepted the connection and sent its first octet. */
  readonly onGreeted: () => void;
}

/**
 * `socket` must be connected. Resolves when the channel is open; rejects if ssh closes the socket
 * instead, or is too slow.
 */
export async function socksDialogue(socket: Socket, options: DialogueOptions): Promise<void> {
  const { destination, timeout, onGreeted } = options;
  const standIn = new SocksSocket(socket);
  let greeted = false;
  const feed = (): void => {
    while (!standIn.done) {
      const octet: Buffer | null = socket.read(1);
      if (octet === null) return;
      if (!greeted) onGreeted();
      greeted = true;
      standIn.emit('data', octet);
    }
  };
  const onClosed = (): void => void standIn.emit('close');
  const client = new SocksClient({
    proxy: PROXY,
    command: 'connect',
    destination: { ...destination },
    timeout,
  });
  try {
    await new Promise<void>((resolve, reject) => {
      client.once('established', () => {
        standIn.done = true;
        resolve();
      });
      client.once('error', reject);
      socket.on('readable', feed);
      socket.once('end', onClosed);
      socket.once('close', onClosed);
      client.connect(standIn as Duplex as Socket);
    });
  } finally {
    standIn.release();
    socket.off('readable', feed);
    socket.off('end', onClosed);
    socket.off('close', onClosed);
  }
}

/** The stand-in that the library uses as its socket. */
class SocksSocket extends Duplex {
  done = false;
  /** Released at the end: the library's timer keeps this object alive until it fires. */
  #socket: Socket | undefined;

  constructor(socket: Socket) {
    super();
    this.#socket = socket;
  }

  override _read(): void {
    // The library gets its data through 'data' events.
  }

  override _write(
    chunk: Buffer,
    _encoding: string,
    callback: (error?: Error | null) => void,
  ): void {
    this.#socket?.write(chunk);
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.done = true;
    callback(error);
  }

  release(): void {
    this.done = true;
    this.#socket = undefined;
  }
}
