/** Joins the two ends of a flow, and reports what it carried once both are over. */
import type { Conduit } from './conduit.ts';

export interface FlowResult {
  /** `sent`: bytes received at `near`. `received`: bytes received at `far`. */
  readonly sent: number;
  readonly received: number;
  /** The first error of either end; undefined when both ended in order. */
  readonly error: Error | undefined;
}

/**
 * Joins two ends and owns both. Calls `over` once, when both are over. Thousands of flows are idle
 * at the same time, so each has only one function.
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
