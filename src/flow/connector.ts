/**
 * The interface of everything that opens connections: an SSH connection, a direct dial, and
 * whatever wraps one of them (connect/).
 */
import type { GiveUpSignal } from '../base/giveup.ts';
import { TunnelError, type TunnelErrorOptions } from '../errors/errors.ts';
import type { Destination } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';
import type { Conduit } from './conduit.ts';

/** The far side or the jump host refused the connection. */
export class ConnectError extends TunnelError {
  readonly refusal: Refusal;

  constructor(refusal: Refusal, message: string, options: TunnelErrorOptions = {}) {
    super(`connect-${refusal}`, message, options);
    this.name = 'ConnectError';
    this.refusal = refusal;
  }
}

/** The rules of this run forbid it. Nobody was asked. */
export class DeniedError extends ConnectError {}

/**
 * The link went down before the far side answered. None of the flow's data have been carried, so it
 * may be tried again on another link.
 */
export class LinkGoneError extends ConnectError {
  constructor(message: string, options: TunnelErrorOptions = {}) {
    super('unreachable', message, options);
    this.name = 'LinkGoneError';
  }
}

/**
 * A limit of this program or of the SSH connection is reached. There may be capacity a moment
 * later.
 */
export class BusyError extends ConnectError {
  constructor(message: string, options: TunnelErrorOptions = {}) {
    super('refused', message, options);
    this.name = 'BusyError';
  }
}

/**
 * The server may have nothing left to open the connection with, such as descriptors. Or it has no
 * route: OpenSSH has one text for both.
 */
export class ServerShortError extends ConnectError {}

export interface ConnectOptions {
  /**
   * The id of the flow that the connection is for (FlowRequest), for the log. Undefined: for no
   * flow.
   */
  readonly flow?: number;
  /**
   * Aborted when nobody waits for the connection any more. A channel that opens after that is
   * closed at once.
   */
  readonly signal?: GiveUpSignal | undefined;
  /** What the application's socket is connected to. Default: the destination. */
  readonly peer?: Destination | undefined;
  /** The application's address, sent to the server as the originator (RFC 4254 §7.2). */
  readonly originator?: Destination;
  /**
   * The addresses that the destination's name was resolved to. A direct connector dials these and
   * asks no resolver. Over SSH they have no meaning.
   */
  readonly addresses?: readonly string[];
  /** The name that was requested, if the destination is one of its addresses. */
  readonly name?: string;
}

/** Opens flows. A `Transport` is one, and so is the direct dial (connect/direct.ts). */
export interface Connector {
  /**
   * Opens one flow. Resolves when the far side has connected, with its end of the connection
   * (conduit.ts). That end may be lost before anybody joins it. Rejects with `ConnectError`, or
   * with the signal's reason.
   */
  connect(destination: Destination, options?: ConnectOptions): Promise<Conduit>;
}
