/**
 * What captures connections on this machine. A capture hands each new connection to `accept` as a
 * `FlowRequest` and answers the application only when the request is answered: that is what makes
 * connects truthful.
 */

import type { TunnelError } from '../errors/errors.ts';
import type { FlowRequest } from '../flow/request.ts';

export interface Capture {
  /**
   * Resolves when connections are being captured. Rejects with a TunnelError when that isn't
   * possible here.
   */
  start(accept: (request: FlowRequest) => void, signal: AbortSignal): Promise<void>;
  /**
   * Resolves when the capture has ended by itself: its device or its helper was taken away. Never
   * rejects.
   */
  readonly ended: Promise<TunnelError | undefined>;
  /** Stops admission, then undoes what `start` did. May be called more than once. */
  close(): Promise<void>;
}
