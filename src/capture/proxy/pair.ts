/**
 * Two streams in memory, each the other's far end: what is written to one is read from the other.
 * For flows whose near side is a part of this program. A writer waits while the other end isn't
 * read, as with sockets; an end that is destroyed before both directions have ended resets the
 * other. Chunks are copied, since a writer may use their memory again once it has been called back
 * (flow/memory.ts), and the reader may not have read them by then.
 */
import { Duplex } from 'node:stream';

/** What one end holds for a reader that doesn't read. */
const BUFFER = 64 * 1024;

/**
 * The first end's readers may rely on `allowHalfOpen: false`; it may be set later. The second is
 * half-closable.
 */
export function createPair(): [Duplex, Duplex] {
  const first = new PairEnd({ allowHalfOpen: false, highWaterMark: BUFFER });
  const second = new PairEnd({ allowHalfOpen: true, highWaterMark: BUFFER });
  first.join(second);
  second.join(first);
  return [first, second];
}

class PairEnd extends Duplex {
  #peer: PairEnd | undefined;
  /** The peer's write that waits until this end is read. */
  #release: (() => void) | undefined;

  join(peer: PairEnd): void {
    this.#peer = peer;
    this.on('error', () => {
      // It may be reset before its user has a listener; the stream keeps the error.
    });
  }

  /** http.Agent asks it of a stream that it uses again. No handle keeps the event loop here. */
  ref(): this {
    return this;
  }

  override _read(): void {
    const release = this.#release;
    this.#release = undefined;
    release?.();
  }

  override _write(
    chunk: Buffer,
    _encoding: string,
    callback: (error?: Error | null) => void,
  ): void {
    const peer = this.#peer;
    // What a destroyed end would have read is lost, as in a closed socket's buffers; the reset is
    // on its way.
    if (peer === undefined || peer.destroyed || peer.push(Buffer.from(chunk)))
      process.nextTick(callback);
    else peer.#release = callback;
  }

  override _final(callback: (error?: Error | null) => void): void {
    if (this.#peer?.destroyed === false) this.#peer.push(null);
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const peer = this.#peer;
    const release = this.#release;
    this.#release = undefined;
    release?.();
    const inOrder = this.writableFinished && this.readableEnded;
    if (peer !== undefined && !peer.destroyed && !inOrder) {
      process.nextTick(() =>
        peer.destroy(Object.assign(new Error('the other end was closed'), { code: 'ECONNRESET' })),
      );
    }
    callback(error);
  }
}
