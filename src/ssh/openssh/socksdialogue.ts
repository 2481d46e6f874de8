/**
 * The SOCKS5 dialogue (RFC 1928) on a flow's socket, spoken by the `socks` library.
 *
 * The library would read from the socket until its user has come to listen, and lose what the far
 * side says first if nobody does so in time. So it gets an end of its own, which hands it the
 * answer octet by octet and takes nothing beyond it: what follows stays in the flow's buffer.
 */

import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { SocksClient } from 'socks';
import type { Destination } from '../../net/destination.ts';

/** The library wants the address of a proxy, and doesn't use it with a socket that is connected. */
const PROXY = { host: 'localhost', port: 1, type: 5 } as const;

export interface DialogueOptions {
  readonly destination: Destination;
  /** Milliseconds until the library gives up. */
  readonly timeout: number;
  /** ssh has taken the connection and said its first word. */
  readonly onGreeted: () => void;
}

/**
 * `socket` is connected. Resolves when the channel is open; rejects when ssh has closed the socket
 * instead, or is too slow.
 */
export async function socksDialogue(socket: Socket, options: DialogueOptions): Promise<void> {
  const { destination, timeout, onGreeted } = options;
  const end = new SocksSocket(socket);
  let greeted = false;
  const feed = (): void => {
    while (!end.done) {
      const octet: Buffer | null = socket.read(1);
      if (octet === null) return;
      if (!greeted) onGreeted();
      greeted = true;
      end.emit('data', octet);
    }
  };
  const over = (): void => void end.emit('close');
  const client = new SocksClient({
    proxy: PROXY,
    command: 'connect',
    destination: { ...destination },
    timeout,
  });
  try {
    await new Promise<void>((resolve, reject) => {
      client.once('established', () => {
        end.done = true;
        resolve();
      });
      client.once('error', reject);
      socket.on('readable', feed);
      socket.once('end', over);
      socket.once('close', over);
      client.connect(end as Duplex as Socket);
    });
  } finally {
    end.release();
    socket.off('readable', feed);
    socket.off('end', over);
    socket.off('close', over);
  }
}

/** What the library takes for its socket. */
class SocksSocket extends Duplex {
  done = false;
  /** Let go at the end: the library's timer keeps this object until it is due. */
  #socket: Socket | undefined;

  constructor(socket: Socket) {
    super();
    this.#socket = socket;
  }

  override _read(): void {
    // The library is fed with events.
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
