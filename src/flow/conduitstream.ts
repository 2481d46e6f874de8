/**
 * A conduit as a Node stream, for parts of this program that read and write streams: HTTP and TLS
 * to a cloud, DNS over TCP, the next hop of a chain.
 *
 *   send    -> copied, and pushed to the reader; taken when the reader asks for more
 *   _write  -> conduit.send; called back when all of it has been taken
 *   shut    -> after 'end' the stream is destroyed with ECONNRESET if it can still be written to;
 *           writes are swallowed until then
 */
import { Duplex } from 'node:stream';
import { type Conduit, connectionReset } from './conduit.ts';
import type { Slab } from './memory.ts';
import { StreamConduit } from './streamconduit.ts';

/** One chunk on the way; what waits for the reader is bounded by the conduit's window. */
const WRITE_BUFFER = 16 * 1024;
const READ_BUFFER = 1;

/**
 * `conduit` is not joined to anything yet. The stream has an 'error' listener, so that no error of
 * it ends the program.
 */
export function streamOf(conduit: Conduit): Duplex {
  return conduit instanceof StreamConduit ? conduit.stream : new ConduitStream(conduit);
}

class ConduitStream extends Duplex implements Conduit {
  received = 0;
  readonly #conduit: Conduit;
  #waiting: Buffer[] = [];
  #wanted = false;
  /** Given to Readable, which holds it until the reader asks for more. */
  #lodged = 0;
  #ended = false;
  /** The reader has been told the end. */
  #told = false;
  #shut = false;
  /** Something was written that nobody has got. */
  #swallowed = false;
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
      // The stream keeps it.
    });
    conduit.whenOver((error) => {
      if (error !== undefined) this.destroy(error);
    });
    conduit.join(this);
  }

  whenOver(): void {
    throw new TypeError('a stream says itself when it is closed');
  }

  /** The conduit is joined to this stream, and not the other way round. */
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
    this.#swallowed ||= this.#pendingWrite !== undefined;
    this.#endWrite();
    if (this.readableEnded) this.#futile();
    else this.once('end', () => this.#futile());
  }

  abort(error: Error | undefined): void {
    this.destroy(error ?? connectionReset());
  }

  override _read(): void {
    this.#wanted = true;
    const taken = this.#lodged;
    this.#lodged = 0;
    if (taken > 0) this.#conduit.taken(taken);
    this.#feed();
  }

  override _write(
    chunk: Buffer,
    _encoding: string,
    callback: (error?: Error | null) => void,
  ): void {
    if (this.#shut || chunk.length === 0) {
      this.#swallowed ||= chunk.length > 0;
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
    this.#told = true;
    const inOrder = this.readableEnded && (this.writableFinished || this.#shut);
    // Also one that is over: it may hold what was never read.
    if (!inOrder) this.#conduit.abort(error ?? undefined);
    // What was read last: nobody asks for more after the end.
    else if (this.#lodged > 0) this.#conduit.taken(this.#lodged);
    this.#lodged = 0;
    this.#endWrite(error ?? connectionReset());
    callback(error);
  }

  #feed(): void {
    while (this.#wanted) {
      const chunk = this.#waiting.shift();
      if (chunk === undefined) break;
      this.#lodged += chunk.length;
      this.#wanted = this.push(chunk);
    }
    if (!this.#ended || this.#told || this.#waiting.length > 0) return;
    this.#told = true;
    this.push(null);
  }

  #futile(): void {
    if (this.#swallowed || !this.writableEnded) this.destroy(connectionReset());
  }

  #endWrite(error?: Error): void {
    const callback = this.#pendingWrite;
    this.#pendingWrite = undefined;
    callback?.(error);
  }
}
