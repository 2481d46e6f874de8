/**
 * A conduit as a Node stream, for parts of this program that read and write streams: HTTP and TLS
 * to a cloud, DNS over TCP, the next hop of a chain.
 *
 *   send    -> copied, and pushed to the reader; taken when the reader asks for more
 *   _write  -> conduit.send; called back when all of it has been taken
 *   shut    -> after 'end' the stream is destroyed with ECONNRESET if it can still be written to;
 *           writes are discarded until then
 */
import { Duplex } from 'node:stream';
import { type Conduit, connectionReset } from './conduit.ts';
import type { Slab } from './memory.ts';
import { StreamConduit } from './streamconduit.ts';

/** One chunk in flight. The conduit's window limits what waits for the reader. */
const WRITE_BUFFER = 16 * 1024;
const READ_BUFFER = 1;

/**
 * `conduit` must not be joined yet. The stream has an 'error' listener, so its errors don't end the
 * program.
 */
export function streamOf(conduit: Conduit): Duplex {
  return conduit instanceof StreamConduit ? conduit.stream : new ConduitStream(conduit);
}

class ConduitStream extends Duplex implements Conduit {
  received = 0;
  readonly #conduit: Conduit;
  #waiting: Buffer[] = [];
  #readerWaits = false;
  /** Bytes pushed into Readable, which count as taken when the reader asks for more. */
  #pushed = 0;
  #ended = false;
  /** The end has been pushed, or the stream is destroyed. */
  #endPushed = false;
  #shut = false;
  /** Something was written that nobody has received. */
  #discarded = false;
  #unwritten = 0;
  #pendingWrite: ((error?: Error | null) => void) | undefined;

  constructor(conduit: Conduit) {
    super({
      allowHalfOpen: true,
      readableHighWaterMark: READ_BUFFER,
      writableHighWaterMark: WRITE_BUFFER,
    });
    this.#conduit = conduit;
    this.on('error', () => {
      // The stream keeps the error.
    });
    conduit.whenOver((error) => {
      if (error !== undefined) this.destroy(error);
    });
    conduit.join(this);
  }

  whenOver(): void {
    throw new TypeError('a stream says itself when it is closed');
  }

  /** Not called: the constructor joins the conduit to this stream. */
  join(): void {
    throw new TypeError('a stream is joined to its conduit when it is made');
  }

  send(data: Buffer, memory: Slab | undefined): void {
    this.#waiting.push(memory === undefined ? data : Buffer.from(data));
    this.#feed();
  }

  finish(): void {
    this.#ended = true;
    this.#feed();
  }

  taken(bytes: number): void {
    this.#unwritten -= bytes;
    if (this.#unwritten <= 0) this.#endWrite();
  }

  shut(): void {
    this.#shut = true;
    this.#discarded ||= this.#pendingWrite !== undefined;
    this.#endWrite();
    if (this.readableEnded) this.#resetIfDiscarded();
    else this.once('end', () => this.#resetIfDiscarded());
  }

  abort(error: Error | undefined): void {
    this.destroy(error ?? connectionReset());
  }

  override _read(): void {
    this.#readerWaits = true;
    const taken = this.#pushed;
    this.#pushed = 0;
    if (taken > 0) this.#conduit.taken(taken);
    this.#feed();
  }

  override _write(
    chunk: Buffer,
    _encoding: string,
    callback: (error?: Error | null) => void,
  ): void {
    if (this.#shut || chunk.length === 0) {
      this.#discarded ||= chunk.length > 0;
      callback();
      return;
    }
    this.#unwritten = chunk.length;
    this.#pendingWrite = callback;
    this.received += chunk.length;
    this.#conduit.send(chunk, undefined);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#conduit.finish();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#waiting = [];
    this.#endPushed = true;
    const inOrder = this.readableEnded && (this.writableFinished || this.#shut);
    // Abort the conduit even if it is over: it may still contain unread data.
    if (!inOrder) this.#conduit.abort(error ?? undefined);
    // The last chunk counts as taken now: nobody asks for more after the end.
    else if (this.#pushed > 0) this.#conduit.taken(this.#pushed);
    this.#pushed = 0;
    this.#endWrite(error ?? connectionReset());
    callback(error);
  }

  #feed(): void {
    while (this.#readerWaits) {
      const chunk = this.#waiting.shift();
      if (chunk === undefined) break;
      this.#pushed += chunk.length;
      this.#readerWaits = this.push(chunk);
    }
    if (!this.#ended || this.#endPushed || this.#waiting.length > 0) return;
    this.#endPushed = true;
    this.push(null);
  }

  #resetIfDiscarded(): void {
    if (this.#discarded || !this.writableEnded) this.destroy(connectionReset());
  }

  #endWrite(error?: Error): void {
    const callback = this.#pendingWrite;
    this.#pendingWrite = undefined;
    callback?.(error);
  }
}
