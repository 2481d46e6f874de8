/**
 * What captures connections on this machine. A capture hands each new connection to `accept` as a
 * `FlowRequest` and answers the application only when the request is answered: that is what makes
 * connects truthful.
 */

import type { TunnelError } from '../errors/errors.ts';
import type { FlowRequest } from '../flow/request.ts';

/** What a capture hands out. */
export interface Traffic {
  /** Takes each connection over, and answers it. */
  readonly accept: (request: FlowRequest) => void;
}

export interface Capture<T extends Traffic = Traffic> {
  /**
   * Once. Resolves when connections are being captured. Rejects with a TunnelError when that isn't
   * possible here, or with the signal's reason; then there is still something to close.
   */
  start(traffic: T, signal: AbortSignal): Promise<void>;
  /**
   * Resolves when the capture has ended by itself: its device or its helper was taken away. Never
   * rejects.
   */
  readonly ended: Promise<TunnelError | undefined>;
  /**
   * Stops admission, ends a start that is under way, then undoes what that has done. May be called
   * more than once.
   */
  close(): Promise<void>;
}
