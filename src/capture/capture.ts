/**
 * What captures connections on this machine. A capture hands each new connection to `accept` as a `FlowRequest`
 * and answers the application only when the request is answered: that is what makes connects truthful.
 */
import type { TunnelError } from '../errors.ts';
import type { Conduit } from '../flow/conduit.ts';
import type { Destination } from '../net/destination.ts';
import type { GiveUpSignal } from '../net/giveup.ts';
import type { Refusal } from '../net/refusal.ts';

/**
 * One connection that an application is trying to make. Exactly one of `open`, `refuse` and `defer`
 * is called.
 */
export interface FlowRequest {
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
   * Fails the application's connect in the way that `refusal` stands for. `why` is a sentence for people, for a capture
   * that can show it.
   */
  refuse(refusal: Refusal, why?: string): void;
  /**
   * There is no room for it at present: it is forgotten, and the application's kernel asks again in
   * a second. Undefined: who has asked does so once, and is to be refused.
   */
  defer?(): void;
}

export interface Capture {
  /** Resolves when connections are being captured. Rejects with a TunnelError when that isn't possible here. */
  start(accept: (request: FlowRequest) => void, signal: AbortSignal): Promise<void>;
  /** Resolves when the capture has ended by itself: its device or its helper was taken away. Never rejects. */
  readonly ended: Promise<TunnelError | undefined>;
  /** Stops admission, then undoes what `start` did. May be called more than once. */
  close(): Promise<void>;
}
