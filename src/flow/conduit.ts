/**
 * One end of a connection. The application's end and the far side's are joined, and then call each
 * other directly. No stream, queue or relay lies between them, so a byte costs little more than its
 * copy.
 *
 *   near.join(far), far.join(near)
 *
 *   near receives data:       far.send(data, memory) -> far passes them on, now or later
 *                                                    -> near.taken(bytes)
 *   near has ended:           far.finish()     -> far passes on what it has, then the end:
 *                                                 half-close
 *   near takes nothing more:  far.shut()       -> far still delivers what it has, but refuses
 *                                                 any data that it receives
 *   near is reset, or lost:   far.abort(error) -> far is reset at once
 *
 * Back-pressure is the sender's window: the number of bytes that it lets wait before they are
 * taken. A receiver therefore accepts everything it is given, and the sender's window limits what
 * it must keep. `send` never fails: after the receiver has ended, it takes the bytes and drops
 * them.
 *
 * States of a conduit: made -> joined -> over. It is over when both directions have ended in order,
 * when it is aborted, or when its own side is lost. In the last case it aborts the other end
 * itself. A conduit that is over ignores calls. If it loses its side before it is joined, it aborts
 * the other end in `join`.
 */
import type { Slab } from './memory.ts';

export type OverListener = (error: Error | undefined) => void;

export interface Conduit {
  /** Bytes received at this end. */
  readonly received: number;
  /** Sets the other end. Called once. Data that arrived earlier are passed on within the call. */
  join(other: Conduit): void;
  /**
   * Calls `listener` once, when this conduit is over, or at once if it already is. With the error
   * if it did not end in order.
   */
  whenOver(listener: OverListener): void;
  /**
   * Takes over `data`. They are a view of `memory`: a receiver that keeps them must retain it.
   * Without `memory` the data belong to the receiver.
   */
  send(data: Buffer, memory: Slab | undefined): void;
  finish(): void;
  /** The other end has passed on this many bytes received here, and no longer keeps them. */
  taken(bytes: number): void;
  shut(): void;
  abort(error: Error | undefined): void;
}

/** One listener that calls both. Few conduits have more than one, so none keeps a list. */
export function both(first: OverListener | undefined, second: OverListener): OverListener {
  if (first === undefined) return second;
  return (error) => {
    first(error);
    second(error);
  };
}

/** The error of a conduit whose peer has reset it. */
export function connectionReset(message = 'the far side closed the connection'): Error {
  return Object.assign(new Error(message), { code: 'ECONNRESET' });
}
