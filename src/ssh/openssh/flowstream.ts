/**
 * One flow: a Duplex over our end of a connection to ssh's SOCKS socket, once ssh has opened the
 * channel for it. Half-close and back-pressure are the kernel socket's own; what is added is the
 * truth about its end.
 *
 *   the far side ends      ssh shuts its half down: 'end' here, writing goes on
 *   the far side is reset  as an end, until our next write fails there (see ssh2/channelstream.ts);
 *                          then ECONNRESET
 *   ssh or the link ends   the kernel closes ssh's end, which looks like an end of the far side,
 *                          and must not be taken for one: a download that was cut off would pass
 *                          for a whole one
 *   destroy()              ssh sees the end of our data, and an error when it has more for us. It
 *                          can't be told to abort a channel, so a far side that says nothing is
 *                          told of the end only
 *
 * So neither an end nor an error is passed on before the link has found out whether ssh still lives
 * (`fate`).
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { TunnelError } from '../../errors/errors.ts';

/**
 * One chunk of the usual size on the way and one waiting, each way; the kernel and ssh hold more.
 */
const BUFFER = 128 * 1024;

/** The link that the flow is on. */
export interface FlowOwner {
  /**
   * undefined: the link stands, whatever ssh wrote until now. Else it ends, and this resolves with
   * the cause when it has. Never rejects.
   */
  fate(): Promise<TunnelError | undefined>;
  /** Called once. */
  released(flow: FlowStream): void;
}

export class FlowStream extends Duplex {
  readonly #socket: Socket;
  readonly #owner: FlowOwner;
  #eof = false;
  #futile = false;
  #pendingWrite: ((error?: Error | null) => void) | undefined;

  /** `socket` is connected, half-open, and has nobody else who listens. */
  constructor(socket: Socket, owner: FlowOwner) {
    super({ allowHalfOpen: true, readableHighWaterMark: BUFFER, writableHighWaterMark: BUFFER });
    this.#socket = socket;
    this.#owner = owner;
    // Its user may not listen yet when it fails (Connector.connect); the stream keeps the error.
    this.on('error', () => {
      // Nothing to do.
    });
    socket.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) socket.pause();
    });
    socket.once('end', () => void this.#ended());
    socket.once('error', (error) => void this.#gone(error));
    // Also when the socket was closed before this stream came to listen.
    socket.once('close', () => void this.#gone(undefined));
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(
    chunk: Buffer,
    _encoding: string,
    callback: (error?: Error | null) => void,
  ): void {
    if (this.#futile) {
      callback();
      return;
    }
    this.#pendingWrite = callback;
    // After an error, 'error' follows, and ends the write with what the error means.
    this.#socket.write(chunk, (error) => {
      if (error === null || error === undefined) this.#endWrite();
    });
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#socket.end();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#endWrite(error ?? connectionReset());
    this.#socket.destroy();
    this.#owner.released(this);
    callback(error);
  }

  #endWrite(error?: Error): void {
    const callback = this.#pendingWrite;
    this.#pendingWrite = undefined;
    callback?.(error);
  }

  /** Never rejects. */
  async #ended(): Promise<void> {
    this.#eof = true;
    const lost = await this.#owner.fate();
    if (lost !== undefined) this.destroy(lost);
    else if (!this.destroyed) this.push(null);
  }

  /**
   * The socket is of no more use: it has failed, or was closed, or both directions have ended.
   * Never rejects.
   */
  async #gone(cause: Error | undefined): Promise<void> {
    const lost = await this.#owner.fate();
    if (lost !== undefined) this.destroy(lost);
    else if (cause === undefined && this.#eof && this.writableEnded) return;
    else if (this.#eof && !this.readableEnded) this.#endAfterReading(cause);
    else this.destroy(connectionReset(cause));
  }

  /**
   * What was received can still be read; what is written is swallowed, as a kernel does after an
   * RST.
   */
  #endAfterReading(cause: Error | undefined): void {
    if (this.#futile) return;
    this.#futile = true;
    this.#endWrite();
    this.once('end', () => this.destroy(connectionReset(cause)));
  }
}

function connectionReset(cause?: Error): Error {
  const options = cause === undefined ? {} : { cause };
  return Object.assign(new Error('the far side closed the connection', options), {
    code: 'ECONNRESET',
  });
}
