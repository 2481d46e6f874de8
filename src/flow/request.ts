/**
 * A connection that an application is trying to make: what captures hand out, and what everything
 * else answers.
 */
import type { GiveUpSignal } from '../base/giveup.ts';
import type { Destination } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';
import type { Conduit } from './conduit.ts';

let lastId = 0;

/**
 * The number of the next flow, from 1 on: one sequence for all captures of a run, so that a number
 * stands for one flow in all of its log. Only for the log.
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
  /** `flow=17` in the log, wherever the flow is spoken of (`nextFlowId`). */
  readonly id: number;
  /** The application's own address and port. */
  readonly source: Destination;
  readonly destination: Destination;
  /** Aborted when the application has given up. */
  readonly signal: GiveUpSignal;
  /**
   * Completes the application's connect: its end of the connection; undefined when the application
   * has gone meanwhile.
   */
  open(): Conduit | undefined;
  /**
   * Fails the application's connect in the way that `refusal` stands for. `why` is a sentence for
   * people, for a capture that can show it.
   */
  refuse(refusal: Refusal, why?: string): void;
  /**
   * There is no room for it at present: it is forgotten, and the application's kernel asks again in
   * a second. Undefined: who has asked does so once, and is to be refused.
   */
  defer?(): void;
}
