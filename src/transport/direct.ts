/**
 * Dials past the tunnel: for destinations that are captured by route but excluded by port. The route table would send
 * these connections back into the TUN, so their sockets are bound to the device that they would use without it.
 */
import { connect, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';
import { ConnectError, type ConnectOptions, type Connector } from './transport.ts';

export interface DirectOptions {
  /**
   * The device by which `address` is reached when the tunnel's own routes are left out; null when there is none.
   * Undefined: the route table may be trusted, nothing is bound.
   */
  readonly uplinkFor?: (address: string) => string | null;
  /** A TCP socket bound to a device, not connected (native.ts, socketOnDevice). */
  readonly socketOnDevice?: (family: 4 | 6, device: string) => number;
}

export class DirectConnector implements Connector {
  readonly #options: DirectOptions;

  constructor(options: DirectOptions = {}) {
    this.#options = options;
  }

  connect(destination: Destination, { signal }: ConnectOptions = {}): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const socket = this.#dial(destination);
      let settled = false;
      const onAbort = () => {
        settled = true;
        socket.destroy();
        reject(signal?.reason);
      };
      // Stays: the stream may fail before its user has a listener of its own (Connector.connect).
      socket.on('error', (cause: NodeJS.ErrnoException) => {
        if (settled) return;
        signal?.removeEventListener('abort', onAbort);
        const refusal = REFUSAL_OF_ERRNO[cause.code ?? ''] ?? 'unreachable';
        reject(
          new ConnectError(refusal, `${formatDestination(destination)}: dialled directly: ${cause.message}`, {
            cause,
          }),
        );
      });
      signal?.addEventListener('abort', onAbort, { once: true });
      socket.once('connect', () => {
        settled = true;
        signal?.removeEventListener('abort', onAbort);
        resolve(socket);
      });
    });
  }

  /** Throws ConnectError when no device leads there. */
  #dial({ host, port }: Destination): Socket {
    const { uplinkFor, socketOnDevice } = this.#options;
    if (uplinkFor === undefined || socketOnDevice === undefined) {
      return connect({ host, port, allowHalfOpen: true, noDelay: true });
    }
    const device = uplinkFor(host);
    if (device === null) throw new ConnectError('no-network', `${host}: no route beside the tunnel's own`);
    let fd: number;
    try {
      fd = socketOnDevice(host.includes(':') ? 6 : 4, device);
    } catch (cause) {
      throw new ConnectError('unreachable', `${host}: no socket on ${device}`, { cause });
    }
    const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
    return socket.connect({ host, port, noDelay: true });
  }
}

const REFUSAL_OF_ERRNO: Readonly<Record<string, Refusal>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'refused',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'no-network',
  EACCES: 'prohibited',
  EPERM: 'prohibited',
  ETIMEDOUT: 'timeout',
};
