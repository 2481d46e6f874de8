/**
 * One end of a connection. Two are joined, the application's and the far side's, and then call each
 * other directly: no stream, queue or relay lies between them, so that a byte costs little more
 * than its copy.
 *
 *   near.join(far), far.join(near)
 *
 *   what comes in at near:    far.send(data, memory) -> far passes it on, now or later
 *                                                    -> near.taken(bytes)
 *   near has ended:           far.finish()     -> what was sent before goes first, then the end:
 *                                                 half-close
 *   near takes nothing more:  far.shut()       -> far still delivers what it has; what comes in at
 *                                                 far is refused
 *   near is reset, or lost:   far.abort(error) -> far is reset at once
 *
 * Back-pressure is the sender's window: it admits so many bytes that have not been taken. So a
 * receiver takes over all that it is given, and what it can't pass on is bounded by the window that
 * its sender has granted. `send` never fails: after the receiver has ended, it takes the bytes and
 * drops them.
 *
 * States of a conduit: made -> joined -> over. It is over when both directions have ended in order,
 * when it is aborted, and when its own side is lost; in that last case it aborts the other end
 * itself. A conduit that is over ignores calls. One that has lost its side before it is joined says
 * so when it is.
 */
import type { Slab } from './memory.ts';

export type OverListener = (error: Error | undefined) => void;

export interface Conduit {
  /** Bytes that have come in here. */
  readonly received: number;
  /**
   * Whose end the other one is: called once. What has come in before is passed on within the call.
   */
  join(other: Conduit): void;
  /**
   * `listener` is called once, when this conduit is over; at once if it is. With the error if it
   * did not end in order.
   */
  whenOver(listener: OverListener): void;
  /**
   * Takes `data` over. They are a view of `memory`, which is to be retained by whoever keeps them;
   * without it they belong to the receiver.
   */
  send(data: Buffer, memory: Slab | undefined): void;
  finish(): void;
  /** The other end has passed on so many bytes of what came in here, and holds them no longer. */
  taken(bytes: number): void;
  shut(): void;
  abort(error: Error | undefined): void;
}

/** One listener that stands for two: hardly any conduit has more than one. */
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
