/**
 * The one place where bytes go from one stream to another: two-way copy with half-close, reset and back-pressure.
 *
 *   near 'data' -> far.write, near pauses until far 'drain'      (and the other way round)
 *   near 'end'  -> far.end()                                      half-close: the other direction goes on
 *   near closed before it ended, or an error -> far is reset      a reset stays a reset
 *
 * The relay is over when both streams are closed; each byte that was read has then been written or its direction
 * has failed. It holds no buffer of its own: what waits, waits in the streams' own bounded buffers.
 */
import type { Readable, Writable } from 'node:stream';
import type { NearStream } from '../capture/capture.ts';
import { resetStream } from '../net/reset.ts';
import type { FlowStream } from '../transport/transport.ts';

export interface RelayResult {
  /** Bytes read from `near` and from `far`. */
  readonly sent: number;
  readonly received: number;
  /** The first error of either stream, undefined when both ended in order. */
  readonly error: Error | undefined;
}

/** Copies until both streams are closed. Never rejects; owns and closes both streams. Aborting resets both. */
export function relay(near: NearStream, far: FlowStream, signal?: AbortSignal): Promise<RelayResult> {
  return new Promise((resolve) => {
    let error: Error | undefined;
    let open = 2;
    const bytes = { sent: 0, received: 0 };

    const abort = (cause: Error | undefined) => {
      error ??= cause;
      resetStream(near, cause);
      resetStream(far, cause);
    };
    const onAbort = () => abort(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
    const closed = () => {
      if (--open > 0) return;
      signal?.removeEventListener('abort', onAbort);
      resolve({ ...bytes, error });
    };

    pump(near, far, (n) => {
      bytes.sent += n;
    });
    pump(far, near, (n) => {
      bytes.received += n;
    });
    for (const [stream, other] of [
      [near, far],
      [far, near],
    ] as const) {
      stream.on('error', (cause) => {
        error ??= cause;
      });
      stream.on('close', () => {
        // In order: all of it was read to its end, and all that the other side had to say was written.
        if (!stream.readableEnded || !stream.writableFinished) resetStream(other, error);
        closed();
      });
      if (stream.closed) {
        error ??= stream.errored ?? undefined;
        resetStream(other, error);
        closed();
      }
    }
    if (signal?.aborted) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** One direction: data with back-pressure, then the end. What becomes of errors is the caller's business. */
export function pump(
  from: Readable & Pick<FlowStream, 'giveBack'> & Pick<NearStream, 'lendsChunks'>,
  to: Writable & Pick<FlowStream, 'copiesChunks'>,
  count: (n: number) => void,
): void {
  const lent = from.lendsChunks === true;
  const copies = to.copiesChunks === true;
  from.on('data', (chunk: Buffer) => {
    count(chunk.length);
    if (to.writable) {
      const kept = lent && !(copies && to.writableLength === 0) ? Buffer.from(chunk) : chunk;
      if (!to.write(kept)) from.pause();
    }
    // Written out at once: nobody holds it any more.
    if (to.writableLength === 0) from.giveBack?.();
  });
  to.on('drain', () => from.resume());
  from.on('end', () => to.end());
  from.resume();
}
