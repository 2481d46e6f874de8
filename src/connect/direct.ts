/**
 * Dials without the tunnel. This is for destinations that are captured by route but excluded by
 * port, and for those that clients of a proxy request although no target covers them. The route
 * table would send connections to captured addresses back into the TUN. So their sockets are bound
 * to the device that they would use without the tunnel.
 *
 *   name    -> this machine's resolver, unless its addresses are already known
 *   address -> a plain socket, or a socket bound to the uplink if the tunnel's routes capture it
 *
 * Several addresses of a name are tried as in RFC 8305 (Node's autoSelectFamily). If one of them
 * needs a bound socket, they are tried one after another.
 */
import { connect, type LookupFunction, Socket } from 'node:net';
import type { GiveUpSignal } from '../base/giveup.ts';
import { within } from '../base/within.ts';
import { reasonOf } from '../errors/reason.ts';
import type { Conduit } from '../flow/conduit.ts';
import { ConnectError, type ConnectOptions, type Connector } from '../flow/connector.ts';
import { StreamConduit } from '../flow/streamconduit.ts';
import { family, isAddress, isZoned } from '../net/address.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import { refusalOfErrno } from '../net/refusal.ts';
import { lookupName } from './lookup.ts';

export interface DirectOptions {
  /**
   * The device that would be used for an address without the tunnel's own routes. null: no device
   * leads there. undefined: no route of the tunnel captures it. Without this function, the route
   * table is trusted and no socket is bound.
   */
  readonly uplinkFor?: (destination: Destination) => string | null | undefined;
  /** An unconnected TCP socket that is bound to a device (native/addon.ts, socketOnDevice). */
  readonly socketOnDevice?: (family: 4 | 6, device: string) => number;
  /**
   * Default: `lookupName`. Like that, it gives at least one canonical address, or rejects with
   * ConnectError.
   */
  readonly lookup?: (name: string, signal?: GiveUpSignal) => Promise<readonly string[]>;
}

export class DirectConnector implements Connector {
  readonly #options: DirectOptions;

  constructor(options: DirectOptions = {}) {
    this.#options = options;
  }

  async connect(
    destination: Destination,
    { signal, addresses }: ConnectOptions = {},
  ): Promise<Conduit> {
    const { host, port } = destination;
    if (isAddress(host) || isZoned(host))
      return established(this.#dial(destination), destination, signal);
    const { lookup = lookupName } = this.#options;
    const found = addresses ?? (await lookup(host, signal));
    signal?.throwIfAborted();
    if (found.every((address) => this.#uplinkFor({ host: address, port }) === undefined)) {
      const socket = connect({
        host,
        port,
        lookup: fixedLookup(found),
        allowHalfOpen: true,
        noDelay: true,
      });
      return established(socket, destination, signal);
    }
    let failure: unknown;
    for (const address of found) {
      try {
        return await established(this.#dial({ host: address, port }), destination, signal);
      } catch (error) {
        if (!(error instanceof ConnectError)) throw error;
        failure ??= error;
      }
    }
    throw failure;
  }

  /** Throws ConnectError if no device leads there. */
  #dial({ host, port }: Destination): Socket {
    const device = this.#uplinkFor({ host, port });
    const { socketOnDevice } = this.#options;
    if (device === undefined || socketOnDevice === undefined)
      return connect({ host, port, allowHalfOpen: true, noDelay: true });
    if (device === null)
      throw new ConnectError('no-network', `${host}: no route except the tunnel's own`);
    let fd: number;
    try {
      fd = socketOnDevice(family(host), device);
    } catch (cause) {
      throw new ConnectError('unreachable', `${host}: no socket on ${device}`, { cause });
    }
    const options = { readable: true, writable: true, allowHalfOpen: true, noDelay: true };
    return new Socket({ fd, ...options }).connect({ host, port });
  }

  #uplinkFor(destination: Destination): string | null | undefined {
    return this.#options.uplinkFor?.(destination);
  }
}

/**
 * Resolves when the socket has connected. Rejects with ConnectError, or with the signal's reason.
 */
function established(
  socket: Socket,
  destination: Destination,
  signal: GiveUpSignal | undefined,
): Promise<Conduit> {
  const connected = new Promise<Conduit>((resolve, reject) => {
    // This listener stays: the stream may fail before its user listens (Connector.connect).
    socket.on('error', (cause: NodeJS.ErrnoException) => reject(connectError(destination, cause)));
    socket.once('connect', () => resolve(new StreamConduit(socket)));
  });
  return within({ signal }, () => connected).catch((error: unknown) => {
    socket.destroy();
    throw error;
  });
}

/** A lookup for net.connect that always answers with the known addresses. */
function fixedLookup(addresses: readonly string[]): LookupFunction {
  const all = addresses.map((address) => ({ address, family: family(address) }));
  return (_name, _options, callback) => process.nextTick(callback, null, all);
}

/**
 * If several addresses fail, `cause` is an AggregateError with the first one's code and no message.
 */
function connectError(destination: Destination, cause: NodeJS.ErrnoException): ConnectError {
  const refusal = refusalOfErrno(cause.code) ?? 'unreachable';
  const first: unknown = cause instanceof AggregateError ? cause.errors[0] : cause;
  const text = reasonOf(first);
  return new ConnectError(refusal, `${formatDestination(destination)}: dialled directly: ${text}`, {
    cause,
  });
}
