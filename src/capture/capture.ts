/**
 * What captures connections on this machine. A capture hands each new connection to `accept` as a `FlowRequest`
 * and answers the application only when the request is answered: that is what makes connects truthful.
 */
import type { Duplex } from 'node:stream';
import type { TunnelError } from '../errors.ts';
import type { Destination } from '../net/destination.ts';
import type { GiveUpSignal } from '../net/giveup.ts';
import type { Refusal } from '../net/refusal.ts';

/** An application's byte stream. */
export interface NearStream extends Duplex {
  /** What 'data' brings is valid only until the listener returns. */
  readonly lendsChunks?: boolean;
}

/** One connection that an application is trying to make. Exactly one of `open` and `refuse` is called. */
export interface FlowRequest {
  /** The application's own address and port. */
  readonly source: Destination;
  readonly destination: Destination;
  /** Aborted when the application has given up. */
  readonly signal: GiveUpSignal;
  /**
   * Completes the application's connect. Resolves with its byte stream (half-closable: `allowHalfOpen`); rejects when the
   * application has gone meanwhile.
   */
  open(): Promise<NearStream>;
  /**
   * Fails the application's connect in the way that `refusal` stands for. `why` is a sentence for people, for a capture
   * that can show it.
   */
  refuse(refusal: Refusal, why?: string): void;
}

export interface Capture {
  /** Resolves when connections are being captured. Rejects with a TunnelError when that isn't possible here. */
  start(accept: (request: FlowRequest) => void, signal: AbortSignal): Promise<void>;
  /** Resolves when the capture has ended by itself: its device or its helper was taken away. Never rejects. */
  readonly ended: Promise<TunnelError | undefined>;
  /** Stops admission, then undoes what `start` did. May be called more than once. */
  close(): Promise<void>;
}
