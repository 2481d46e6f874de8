/**
 * One flow: a Duplex over our end of a connection to ssh's SOCKS socket, once ssh has opened the
 * channel for it. The kernel socket provides half-close and back-pressure. This class adds the
 * correct meaning of its end.
 *
 *   the far side ends      ssh shuts down its half: 'end' here, writing goes on
 *   the far side is reset  looks like an end until our next write fails there; then ECONNRESET
 *   ssh or the link ends   the kernel closes ssh's end. This looks like an end of the far side, but
 *                          must not be treated as one: a truncated download would look complete
 *   destroy()              ssh sees the end of our data, and an error if it has more for us. We
 *                          can't make ssh abort a channel, so a silent far side only sees the end
 *
 * So neither an end nor an error is passed on before the link knows whether ssh is still alive
 * (`fate`).
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { TunnelError } from '../../errors/errors.ts';

/**
 * In each direction, one chunk of the usual size in progress and one waiting. The kernel and ssh
 * buffer more.
 */
const BUFFER = 128 * 1024;

/** The link that the flow is on. */
export interface FlowOwner {
  /**
   * Resolves with undefined if the link is still up after everything that ssh has written so far.
   * If the link is ending, resolves with the cause once it has ended. Never rejects.
   */
  fate(): Promise<TunnelError | undefined>;
  /** Called once. */
  released(flow: FlowStream): void;
}

export class FlowStream extends Duplex {
  readonly #socket: Socket;
  readonly #owner: FlowOwner;
  #eof = false;
  /** Nobody receives what is written, so it is discarded. */
  #discardWrites = false;
  #pendingWrite: ((error?: Error | null) => void) | undefined;

  /** `socket` must be connected, allow half-open, and have no other listeners. */
  constructor(socket: Socket, owner: FlowOwner) {
    super({ allowHalfOpen: true, readableHighWaterMark: BUFFER, writableHighWaterMark: BUFFER });
    this.#socket = socket;
    this.#owner = owner;
    // The stream may fail before its user listens (Connector.connect); it keeps the error.
    this.on('error', () => {
      // Nothing to do.
    });
    socket.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) socket.pause();
    });
    socket.once('end', () => void this.#ended());
    socket.once('error', (error) => void this.#gone(error));
    // Also emitted if the socket was already closed when this stream was created.
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
    if (this.#discardWrites) {
      callback();
      return;
    }
    this.#pendingWrite = callback;
    // On failure, 'error' follows and completes the write with the right error.
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
   * The socket can't be used any more: it has failed, or was closed, or both directions have ended.
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
   * Received data can still be read. Written data is discarded, as the kernel does after an RST.
   */
  #endAfterReading(cause: Error | undefined): void {
    if (this.#discardWrites) return;
    this.#discardWrites = true;
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
