/**
 * One established SSH connection with a verified host key: every flow is one channel of it.
 * Implementations: `embedded/`, `openssh/`, and the in-memory one of the tests. All of them pass
 * the contract suite in test/contract.
 */
import type { TunnelError } from '../errors/errors.ts';
import type { Connector } from '../flow/connector.ts';

export interface Transport extends Connector {
  /**
   * Resolves when the link is gone: with the error if it was lost, with undefined after `close()`.
   * Never rejects. A `link-lost` without a `cause` means that the server closed the connection in
   * order, as it does when the connection is not used (UnusedConnectionTimeout). Waiting connects
   * are rejected with `LinkGoneError`; open flows are aborted with the error.
   */
  readonly ended: Promise<TunnelError | undefined>;

  /**
   * Channels that the server has not given back. It may still be passing on what was sent on them,
   * also of flows that are over here.
   */
  readonly channels: number;

  /** Closes all flows, then the connection. May be called more than once. */
  close(): Promise<void>;
}

/** A transport that can be asked whether its peer still answers. */
export interface Probing {
  /**
   * Asks the server for a sign of life. Resolves to whether one came within `timeout` ms; never
   * rejects. `load`: octets that are sent before it, for the server to ignore. The system's ssh
   * can't send any.
   */
  probe(timeout: number, load?: number): Promise<boolean>;
  /** Of the last answer that was timed, in ms. Undefined: none was, or that is not known. */
  readonly roundTripMs?: number | undefined;
}

/** What a transport holds now. */
export interface Load {
  /** Bytes of its receive windows: granted, or received and not consumed. */
  readonly windowBytes: number;
  /** The most of them; --window-budget. */
  readonly windowBudget: number;
  /** Bytes for the server that the kernel has not taken yet. */
  readonly unsentBytes: number;
  /** Channels that have something to send, and take turns. */
  readonly sendingChannels: number;
}

/** A transport that knows its load. The system's ssh tells nothing of its own. */
export interface Loaded {
  readonly load: Load;
}

export function isLoaded(transport: Transport): transport is Transport & Loaded {
  return 'load' in transport;
}

export function isProbing(transport: Transport): transport is Transport & Probing {
  return 'probe' in transport && typeof transport.probe === 'function';
}
