/**
 * A Node stream as a conduit, for the sockets of direct dials, of proxy clients and of the system's
 * ssh.
 *
 *   'data'  -> other.send; the stream pauses while HIGH_WATER bytes have not been taken
 *   'end'   -> other.finish
 *   'close' -> before its own 'end': other.abort, so a reset stays a reset; before it has written
 *              all: other.shut
 *   send    -> write(); taken when the stream calls back
 *   shut    -> once all has been written, data that still arrive lead to a reset, and so do
 *              FIN_WAIT_MS without an end
 */
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Conduit, OverListener } from './conduit.ts';
import type { Slab } from './memory.ts';
import { resetStream } from './reset.ts';

/**
 * How many bytes may wait at the other end before the stream is paused, and how few before it is
 * read again.
 */
const HIGH_WATER = 256 * 1024;
const LOW_WATER = 128 * 1024;
/** How long a stream may stay open once the far side has gone (Linux: tcp_fin_timeout). */
const FIN_WAIT_MS = 60_000;

interface Written {
  readonly bytes: number;
  readonly memory: Slab | undefined;
}

export class StreamConduit implements Conduit {
  received = 0;
  readonly stream: Duplex;
  #other: Conduit | undefined;
  #outstanding = 0;
  #paused = false;
  /** The other end takes no more data. */
  #shut = false;
  #finished = false;
  /** finish() called destroy() instead of end(), because there was nothing left to read either. */
  #closedInOrder = false;
  readonly #writes: Written[] = [];

  /** The conduit owns the stream from now on. The stream must already have an 'error' listener. */
  constructor(stream: Duplex) {
    this.stream = stream;
  }

  join(other: Conduit): void {
    const { stream } = this;
    this.#other = other;
    stream.on('error', () => {
      // 'close' follows, and the stream keeps its error.
    });
    if (stream.closed || stream.destroyed) {
      this.#closed();
      return;
    }
    stream.on('data', (chunk: Buffer) => this.#data(chunk));
    stream.on('end', () => this.#ended());
    stream.on('close', () => this.#closed());
    // Its end may have come while nobody listened.
    if (stream.readableEnded) this.#ended();
    stream.resume();
  }

  whenOver(listener: OverListener): void {
    const { stream } = this;
    const over = () => listener(this.#inOrder ? undefined : (stream.errored ?? undefined));
    if (stream.closed) over();
    else stream.once('close', over);
  }

  send(data: Buffer, memory: Slab | undefined): void {
    if (!this.stream.writable) {
      this.#other?.taken(data.length);
      return;
    }
    // If other data are waiting, these will wait too, and would keep a much larger slab from being
    // reused. So they are copied.
    const borrowed = this.stream.writableLength === 0 ? memory : undefined;
    borrowed?.retain();
    this.#writes.push({ bytes: data.length, memory: borrowed });
    this.stream.write(borrowed === memory ? data : Buffer.from(data), this.#written);
  }

  finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    const { stream } = this;
    // A socket that has been read to its end and has nothing left to write: close(2) sends the FIN
    // as shutdown(2) would, and saves the extra calls.
    this.#closedInOrder =
      stream instanceof Socket && stream.readableEnded && stream.writableLength === 0;
    if (this.#closedInOrder) stream.destroy();
    else stream.end();
  }

  taken(bytes: number): void {
    this.#outstanding -= bytes;
    if (!this.#paused || this.#outstanding > LOW_WATER) return;
    this.#paused = false;
    this.stream.resume();
  }

  shut(): void {
    const { stream } = this;
    if (this.#shut || stream.closed) return;
    this.#shut = true;
    this.#whenWritten(() => {
      const timer = setTimeout(() => resetStream(stream), FIN_WAIT_MS).unref();
      stream.once('close', () => clearTimeout(timer));
    });
    // Data that it has already sent are lost, so it must be reset. A paused stream would not notice
    // such data, so it is read again.
    this.#outstanding = 0;
    if (this.#paused) this.taken(0);
  }

  abort(error: Error | undefined): void {
    resetStream(this.stream, error);
  }

  #data(chunk: Buffer): void {
    this.received += chunk.length;
    if (this.#shut) {
      this.#refuse();
      return;
    }
    this.#outstanding += chunk.length;
    this.#other?.send(chunk, undefined);
    if (this.#outstanding < HIGH_WATER || this.#shut) return;
    this.#paused = true;
    this.stream.pause();
  }

  /**
   * Nobody takes this data any more: resets the stream once everything for it has been delivered.
   */
  #refuse(): void {
    this.#whenWritten(() => resetStream(this.stream));
  }

  /** The reader may take as long as it likes. */
  #whenWritten(then: () => void): void {
    const { stream } = this;
    if (stream.writableFinished) then();
    else stream.once('finish', then);
  }

  #ended(): void {
    this.#other?.finish();
  }

  get #inOrder(): boolean {
    const { stream } = this;
    return stream.readableEnded && (this.#closedInOrder || stream.writableFinished);
  }

  #closed(): void {
    const { stream } = this;
    this.#releaseAll();
    if (this.#inOrder) return;
    // All its data have been passed on. It just takes no more.
    if (stream.readableEnded) this.#other?.shut();
    else this.#other?.abort(stream.errored ?? undefined);
  }

  readonly #written = (error?: Error | null): void => {
    if (error) return; // 'close' follows, and releases the rest
    const written = this.#writes.shift();
    if (written === undefined) return;
    written.memory?.release();
    this.#other?.taken(written.bytes);
  };

  #releaseAll(): void {
    for (const { memory } of this.#writes.splice(0)) memory?.release();
  }
}
