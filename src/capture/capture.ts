/**
 * The interface of everything that captures connections on this machine. A capture hands each new
 * connection to `accept` as a `FlowRequest`. It answers the application only when the request is
 * answered, so connect() tells the application the truth.
 */

import type { TunnelError } from '../errors/errors.ts';
import type { FlowRequest } from '../flow/request.ts';

/** Where a capture delivers what it captures. */
export interface Traffic {
  /** Takes over each connection and answers it. */
  readonly accept: (request: FlowRequest) => void;
}

export interface Capture<T extends Traffic = Traffic> {
  /**
   * Called once. Resolves when connections are being captured. Rejects with a TunnelError if this
   * machine can't capture, or with the signal's reason. close() is still needed after a rejection.
   */
  start(traffic: T, signal: AbortSignal): Promise<void>;
  /**
   * Resolves when the capture ends: with an error if its device or helper was taken away, with
   * undefined after close(). Never rejects.
   */
  readonly ended: Promise<TunnelError | undefined>;
  /**
   * Stops taking new connections, cancels a start that is under way, then undoes what the start
   * did. May be called more than once.
   */
  close(): Promise<void>;
}
