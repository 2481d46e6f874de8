/**
 * Two in-memory streams that are each other's far end: bytes written to one are read from the
 * other. For flows whose near side is a part of this program. As with sockets, a writer waits while
 * the other end isn't read, and an end that is destroyed before both directions have ended resets
 * the other. Chunks are copied, because a writer may reuse their memory after its callback
 * (flow/memory.ts), when the reader may not have read them yet.
 */
import { Duplex } from 'node:stream';

/** How many bytes one end buffers for a reader that doesn't read. */
const BUFFER = 64 * 1024;

/**
 * The first end has `allowHalfOpen: false`, which may be changed later. The second can be
 * half-closed.
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
      // The end may be reset before its user has a listener. The stream keeps the error.
    });
  }

  /** http.Agent calls this on a stream that it reuses. Nothing here keeps the event loop alive. */
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
    // Bytes for a destroyed end are lost, as in a closed socket's buffers. The reset is on its way.
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
