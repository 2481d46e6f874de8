/** What a Supervisor is made of, and what it asks of whoever dials for it. */
import type { Clock } from '../base/clock.ts';
import type { Observer } from '../observe/observer.ts';
import type { Probing, Transport } from '../ssh/transport.ts';
import type { SourceFinder } from './opensources.ts';

export interface DialRequest {
  /** Aborted when the supervisor is closed. */
  readonly signal: AbortSignal;
  /** 1 for the first dial of an outage, and for the very first one. */
  readonly attempt: number;
  /** How long the last successful dial took, in ms; undefined: none has succeeded. */
  readonly lastDialMs: number | undefined;
}

/** --on-demand */
export interface Demand {
  /** At the start: finds what is wrong without the jump host. Rejects as `dial` does. */
  readonly prepare: (signal: AbortSignal) => Promise<void>;
  /** --idle-disconnect: seconds without a flow after which the link is closed; 0: never. */
  readonly idleDisconnect: number;
}

export interface SupervisorOptions {
  /**
   * Makes a link, host key verified and authenticated. Rejects with a TunnelError
   * (ssh/embedded/handshake/dial.ts), or with the signal's reason.
   */
  readonly dial: (request: DialRequest) => Promise<Transport>;
  /** As Probing.probe, which is the default; may do something about a link that is silent. */
  readonly probe?: (transport: Transport & Probing, milliseconds: number) => Promise<boolean>;
  /**
   * --reconnect-hold: seconds that a connect waits while there is no link; 0: it is refused at
   * once.
   */
  readonly hold: number;
  /** --wait-auth: seconds for which a refused login is tried again. Default: 0, not at all. */
  readonly waitAuth?: number;
  /** Default: it is dialled at the start, and again whenever it is lost. */
  readonly demand?: Demand | undefined;
  readonly observer: Observer;
  /** Default: systemClock. */
  readonly clock?: Clock;
  /** Like Math.random, which is the default. */
  readonly random?: () => number;
  /** Whose the opens are that come from this machine. Default: all of one user. */
  readonly finder?: SourceFinder | undefined;
}
