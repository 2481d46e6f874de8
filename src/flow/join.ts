/** Joins the two ends of a flow, and says what it carried once both are over. */
import type { Conduit } from './conduit.ts';

export interface FlowResult {
  /** Bytes that came in at `near` and at `far`. */
  readonly sent: number;
  readonly received: number;
  /** The first error of either end; undefined when both ended in order. */
  readonly error: Error | undefined;
}

/**
 * Carries until both are over; owns both. `over` is called once. Thousands are idle at a time, so a
 * flow has one function.
 */
export function join(near: Conduit, far: Conduit, over: (result: FlowResult) => void): void {
  let open = 2;
  let first: Error | undefined;
  const ended = (error: Error | undefined): void => {
    first ??= error;
    if (--open === 0) over({ sent: near.received, received: far.received, error: first });
  };
  near.whenOver(ended);
  far.whenOver(ended);
  near.join(far);
  far.join(near);
}
