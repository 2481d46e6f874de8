/**
 * The states of a flow (tcpflow.ts has their table), and what it needs of the endpoint that it
 * belongs to.
 */
import { TunnelError } from '../../errors/errors.ts';
import type { Refusal } from '../../net/refusal.ts';
import type { InitialNumberPair } from './initialnumbers.ts';
import type { Tuple } from './tuple.ts';
import type { SegmentFields } from './writer.ts';

export const STATE = { held: 0, refused: 1, answered: 2, open: 3, gone: 4 } as const;
export type State = (typeof STATE)[keyof typeof STATE];

export interface FlowHost<Flow> {
  /** Milliseconds of a monotonic clock, as of the last `touch` or the present batch. */
  readonly now: number;
  /** Called from outside: looks at the clock. */
  touch(): void;
  readonly mtu: number;
  /** Where the next frame's contents can be put together. */
  readonly fields: SegmentFields;
  write(flow: Flow, length: number, parts: readonly (Buffer | undefined)[]): void;
  /** An acknowledgement is due, unless a segment carries it before the batch ends. */
  acknowledgeSoon(flow: Flow): void;
  /** Has `due` called at that time, or a little later. An earlier request stands. */
  arm(flow: Flow, at: number): void;
  /** Where a new connection begins to count. */
  numbersOf(tuple: Tuple): InitialNumberPair;
  /** The application has been answered: what is held of its SYN isn't needed any more. */
  entered(flow: Flow, from: State): void;
  refuse(flow: Flow, refusal: Refusal): void;
  /** A flow is forgotten, to be asked for again. */
  deferred(): void;
  /** How much of one flow may wait for the far side. */
  windowLimit(wanted: number): number;
  /** So many bytes more, or less, wait for far sides. */
  waiting(bytes: number): void;
  /** Whether more data of a flow may be taken of which so many bytes wait already. */
  admits(pending: number): boolean;
}

export function gaveUp(): TunnelError {
  return new TunnelError('flow-given-up', 'the application has given up the connection');
}
