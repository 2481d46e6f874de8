/** The states of a flow (tcpflow.ts has their table), and what a flow needs from its endpoint. */
import { TunnelError } from '../../errors/errors.ts';
import type { Refusal } from '../../net/refusal.ts';
import type { InitialNumberPair } from './initialnumbers.ts';
import type { Tuple } from './tuple.ts';
import type { SegmentFields } from './writer.ts';

export const STATE = { held: 0, refused: 1, answered: 2, open: 3, gone: 4 } as const;
export type State = (typeof STATE)[keyof typeof STATE];

export interface FlowHost<Flow> {
  /**
   * Milliseconds of a monotonic clock, as of the last `touch` or the start of the current batch.
   */
  readonly now: number;
  /** Reads the clock. For calls that come from outside a batch. */
  touch(): void;
  readonly mtu: number;
  /** Where the fields of the next frame are filled in. */
  readonly fields: SegmentFields;
  write(flow: Flow, length: number, parts: readonly (Buffer | undefined)[]): void;
  /** Sends an acknowledgement at the end of the batch, unless a segment carries it earlier. */
  acknowledgeSoon(flow: Flow): void;
  /** Has `timerFired` called at that time, or a little later. Replaces the time set before. */
  arm(flow: Flow, at: number): void;
  /** The initial numbers of a new connection. */
  numbersOf(tuple: Tuple): InitialNumberPair;
  /** The flow has entered a new state; `from` is the one before. */
  entered(flow: Flow, from: State): void;
  refuse(flow: Flow, refusal: Refusal): void;
  /** Counts a flow that is forgotten until the application sends its SYN again. */
  deferred(): void;
  /** How many bytes of one flow may wait for the far side. */
  windowLimit(wanted: number): number;
  /** This many bytes more, or fewer if negative, wait for far sides. */
  waiting(bytes: number): void;
  /** Whether to accept more data of a flow that has `pending` bytes waiting already. */
  admits(pending: number): boolean;
}

export function gaveUp(): TunnelError {
  return new TunnelError('flow-given-up', 'the application has given up the connection');
}
