/**
 * A client's connection while it negotiates, whatever its socket is: one of the native part
 * (nativeclient.ts), or Node's own (socketclient.ts) where there is none.
 *
 *   follow() reading ── hold() ──► held ── open() ──► its end of the flow
 *                    \── pause(), resume()  \── endWith(), destroy() ──► closed
 */
import type { Conduit } from '../../flow/conduit.ts';
import type { Destination } from '../../net/destination.ts';
import type { Place } from './admission.ts';

export interface ClientListener {
  /** What the client has sent: one octet at least. The memory is the listener's during the call. */
  octets(octets: Buffer): void;
  /**
   * It has left: it is lost, or it has ended what it sends and nothing of that is left to be read.
   * Called once at the most.
   */
  end(): void;
}

export interface ProxyClient {
  /** The client's own address and port. */
  readonly source: Destination;
  /** The address and port that it has connected to. */
  readonly proxyEnd: Destination;
  readonly place: Place;
  readonly closed: boolean;
  /** From now on `listener` hears of it, in place of the one before. */
  follow(listener: ClientListener): void;
  write(octets: Buffer): void;
  /** Reads nothing until resume(); its end isn't noticed either. */
  pause(): void;
  resume(): void;
  /**
   * Its request is whole: `octets` were read behind that. The listener hears only of its end, and
   * what it sends stays unread.
   */
  hold(octets: Buffer): void;
  /** Writes `reply`. Returns its end of the flow; undefined: it has gone meanwhile. */
  open(reply: Buffer): Conduit | undefined;
  /**
   * Writes the last octets and closes so that they arrive. What it still sends is read and dropped,
   * because closing with unread octets would send a reset that overtakes them.
   */
  endWith(last: Buffer): void;
  /** Closes at once. */
  destroy(): void;
}

/** How long a client may take to close its side after it has been refused. */
export const FAREWELL_TIMEOUT_MS = 2000;
