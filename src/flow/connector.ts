/**
 * What opens connections: an SSH connection, a direct dial, and everything that decorates one of
 * them (connect/).
 */
import type { GiveUpSignal } from '../base/giveup.ts';
import { TunnelError, type TunnelErrorOptions } from '../errors/errors.ts';
import type { Destination } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';
import type { Conduit } from './conduit.ts';

/** The far side, or the jump host, did not give us the connection. */
export class ConnectError extends TunnelError {
  readonly refusal: Refusal;

  constructor(refusal: Refusal, message: string, options: TunnelErrorOptions = {}) {
    super(`connect-${refusal}`, message, options);
    this.name = 'ConnectError';
    this.refusal = refusal;
  }
}

/**
 * The link was gone before the far side has answered: nothing of the flow has been carried, so it
 * may be tried again on another link.
 */
export class LinkGoneError extends ConnectError {
  constructor(message: string, options: TunnelErrorOptions = {}) {
    super('unreachable', message, options);
    this.name = 'LinkGoneError';
  }
}

/**
 * A limit of this program's or of the connection's is reached: a moment later there may be room.
 */
export class BusyError extends ConnectError {
  constructor(message: string, options: TunnelErrorOptions = {}) {
    super('refused', message, options);
    this.name = 'BusyError';
  }
}

export interface ConnectOptions {
  /** The id of the flow that it is for (FlowRequest), for the log. Undefined: for no flow. */
  readonly flow?: number;
  /**
   * Aborted when nobody waits for the connection any more; a channel that opens later is closed at
   * once.
   */
  readonly signal?: GiveUpSignal;
  /** Who asked, told to the server as the originator (RFC 4254 §7.2). */
  readonly originator?: Destination;
  /**
   * What a name has been resolved to. A direct connector dials these and asks no resolver; over SSH
   * it has no meaning.
   */
  readonly addresses?: readonly string[];
  /** The name that was asked for, where the destination is one of its addresses. */
  readonly name?: string;
}

/** Opens flows. A `Transport` is one; so is what dials directly (connect/direct.ts). */
export interface Connector {
  /**
   * Opens one flow. Resolves when the far side has connected, with its end of the connection
   * (conduit.ts), which may be lost before anybody has joined it. Rejects with `ConnectError`,
   * or with the signal's reason.
   */
  connect(destination: Destination, options?: ConnectOptions): Promise<Conduit>;
}
