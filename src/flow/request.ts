/**
 * A connection that an application is trying to make: captures deliver it, and the rest of the
 * program answers it.
 */
import type { GiveUpSignal } from '../base/giveup.ts';
import type { Destination } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';
import type { Conduit } from './conduit.ts';

let lastId = 0;

/**
 * The number of the next flow, from 1 on. All captures of a run share one sequence, so a number
 * means one flow in the whole log. Only for the log.
 */
export function nextFlowId(): number {
  lastId += 1;
  return lastId;
}

/**
 * One connection that an application is trying to make. Exactly one of `open`, `refuse` and `defer`
 * is called.
 */
export interface FlowRequest {
  /** Every log entry about the flow has it, for example `flow=17` (`nextFlowId`). */
  readonly id: number;
  /** The application's own address and port. */
  readonly source: Destination;
  readonly destination: Destination;
  /** What the application's socket is connected to. Default: the destination. */
  readonly peer?: Destination | undefined;
  /** Aborted when the application has given up. */
  readonly signal: GiveUpSignal;
  /**
   * Completes the application's connect. Returns its end of the connection, or undefined if the
   * application has gone meanwhile.
   */
  open(): Conduit | undefined;
  /**
   * Fails the application's connect with the error that matches `refusal`. `why` is a sentence for
   * people. Some captures can show it.
   */
  refuse(refusal: Refusal, why?: string): void;
  /**
   * There is no capacity now: forgets the request. The application's kernel asks again in a second.
   * Undefined: the application asks only once and must be refused.
   */
  defer?(): void;
}
