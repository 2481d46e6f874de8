/**
 * The one place where bytes go from one stream to another: two-way copy with half-close, reset and back-pressure.
 *
 *   near 'data' -> far.write, near pauses until far 'drain'      (and the other way round)
 *   near 'end'  -> far.end()                                      half-close: the other direction goes on
 *   near closed before it ended, or an error -> far is reset      a reset stays a reset
 *
 * The relay is over when both streams are closed; each byte that was read has then been written or its direction
 * has failed. It holds no buffer of its own: what waits, waits in the streams' own bounded buffers. Thousands of relays are
 * idle at a time, so each has few functions and no promise.
 */
import { Socket } from 'node:net';
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

/** Copies until both streams are closed; owns and closes both. `over` is called once, when they are. */
export function relay(near: NearStream, far: FlowStream, over: (result: RelayResult) => void): void {
  const sent = pump(near, far);
  const received = pump(far, near);
  let error: Error | undefined;
  let open = 2;
  const closed = (stream: NearStream | FlowStream): void => {
    error ??= stream.errored ?? undefined;
    const [other, written] = stream === near ? [far, received] : [near, sent];
    // In order: all of it was read to its end, and all that the other side had to say was written.
    if (!stream.readableEnded || !(written.closed || stream.writableFinished)) resetStream(other, error);
    if (--open === 0) over({ sent: sent.bytes, received: received.bytes, error });
  };
  for (const stream of [near, far]) {
    stream.on('error', heardAtClose);
    if (stream.closed) closed(stream);
    else stream.on('close', () => closed(stream));
  }
}

function heardAtClose(): void {
  // 'close' follows, and the stream keeps its error.
}

interface Pumped {
  /** Read so far. */
  readonly bytes: number;
  /** All of it has been written, and the writer has been closed with it. */
  readonly closed: boolean;
}

/** One direction: data with back-pressure, then the end. What becomes of errors is the caller's business. */
export function pump(
  from: Readable & Pick<FlowStream, 'giveBack'> & Pick<NearStream, 'lendsChunks'>,
  to: Writable & Pick<FlowStream, 'copiesChunks'>,
): Pumped {
  const pumped = { bytes: 0, closed: false };
  const lent = from.lendsChunks === true;
  const copies = to.copiesChunks === true;
  let awaited = false;
  from.on('data', (chunk: Buffer) => {
    pumped.bytes += chunk.length;
    if (to.writable) {
      const kept = lent && !(copies && to.writableLength === 0) ? Buffer.from(chunk) : chunk;
      if (!to.write(kept)) {
        from.pause();
        if (!awaited) to.on('drain', () => from.resume());
        awaited = true;
      }
    }
    // Written out at once: nobody holds it any more.
    if (to.writableLength === 0) from.giveBack?.();
  });
  from.on('end', () => {
    // A socket that has been read to its end and holds nothing back: close(2) sends the FIN as shutdown(2) would, and
    // spares the latter and what comes of it.
    pumped.closed = to instanceof Socket && to.readableEnded && to.writableLength === 0;
    if (pumped.closed) to.destroy();
    else to.end();
  });
  from.resume();
  return pumped;
}
