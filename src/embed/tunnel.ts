/**
 * What `openTunnel()` gives: streams over the link, and what other clients need to use them.
 *
 *   connect() ─► allow-list ─► link ─► a channel, as a stream
 *   agents, undiciConnect(), createSocket() ─► connect()
 *
 * Limits: MAX_FLOWS streams at a time. Beyond it connect() rejects with BusyError.
 */
import type { Duplex } from 'node:stream';
import type { ConnectionOptions } from 'node:tls';
import { TunnelError, UsageError } from '../errors/errors.ts';
import { streamOf } from '../flow/conduitstream.ts';
import { BusyError, type Connector } from '../flow/connector.ts';
import { MAX_FLOWS } from '../flow/flows.ts';
import { nextFlowId } from '../flow/request.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import { canonicalHost } from '../net/name.ts';
import { NotationError, quoted } from '../net/notation.ts';
import { parsePort } from '../net/ports.ts';
import type { Observer } from '../observe/observer.ts';
import type { TunnelEvents } from './events.ts';
import { TunnelHttpAgent, TunnelHttpsAgent, type UndiciConnect, undiciConnect } from './http.ts';
import { lookup } from './lookup.ts';
import { TunnelSocket } from './socket.ts';

export interface ConnectOptions {
  /** Gives the connect up. It doesn't end a stream that is open. */
  readonly signal?: AbortSignal | undefined;
}

/** `{ host, port }`, `host:port`, `10.0.0.1:443` or `[2001:db8::1]:443`. */
export type DestinationLike = string | { readonly host: string; readonly port: number };

export interface TunnelParts {
  readonly connector: Connector;
  readonly observer: Observer;
  /** Aborts when the tunnel is closed, or its link has ended for good. */
  readonly ended: AbortSignal;
  readonly close: () => Promise<void>;
}

/** An open tunnel. Made by openTunnel(). */
export class Tunnel implements AsyncDisposable {
  /** Changes of the link: up, lost, reconnecting, reconnected, closed. */
  readonly events: TunnelEvents;
  /** For `http.request({ agent })`. */
  readonly httpAgent: TunnelHttpAgent;
  /** For `https.request({ agent })`. */
  readonly httpsAgent: TunnelHttpsAgent;
  /** Answers names with themselves, for clients that resolve before they connect. */
  readonly lookup: typeof lookup = lookup;
  readonly #parts: TunnelParts;
  #live = 0;

  /** @internal */
  constructor(events: TunnelEvents, parts: TunnelParts) {
    this.events = events;
    this.#parts = parts;
    this.httpAgent = new TunnelHttpAgent(this.#open);
    this.httpsAgent = new TunnelHttpsAgent(this.#open);
  }

  /**
   * Resolves when the far side has connected, with a stream that can be half-closed. A name is
   * resolved by the jump host. Rejects with ConnectError, whose `refusal` and `code` say what the
   * far side or the jump host has answered; with UsageError for what is no destination; or with
   * the signal's reason; with `link-closed` when the tunnel is closed or has ended. Waits while
   * there is no link, for `reconnectHold` at the most.
   */
  async connect(destination: DestinationLike, options: ConnectOptions = {}): Promise<Duplex> {
    const { connector, observer, ended } = this.#parts;
    const to = destinationOf(destination);
    const signal = signalOf(options);
    signal?.throwIfAborted();
    if (ended.aborted) throw closed(to, ended);
    if (this.#live >= MAX_FLOWS) {
      observer.count('tunnel_flows_over_limit_total');
      const why = `${MAX_FLOWS} connections are open already`;
      throw new BusyError(`${formatDestination(to)}: ${why}`);
    }
    this.#live += 1;
    try {
      const conduit = await connector.connect(to, {
        flow: nextFlowId(),
        ...(signal && { signal }),
      });
      observer.count('tunnel_flows_opened_total');
      const stream = streamOf(conduit);
      stream.once('close', () => {
        this.#live -= 1;
      });
      return stream;
    } catch (error) {
      this.#live -= 1;
      observer.count('tunnel_flows_refused_total');
      // The end of the tunnel is no answer of the far side.
      throw ended.aborted && error !== signal?.reason ? closed(to, ended) : error;
    }
  }

  /** For `new Agent({ connect })` of undici 6 or 7. `tls`: for https, as for tls.connect(). */
  undiciConnect(tls: ConnectionOptions = {}): UndiciConnect {
    return undiciConnect(this.#open, tls);
  }

  /**
   * A stream that is not connected yet, with the methods of a net.Socket that clients call: for
   * the `stream` option of clients of databases and the like.
   */
  createSocket(options: { readonly allowHalfOpen?: boolean } = {}): TunnelSocket {
    return new TunnelSocket(this.#open, options);
  }

  /** Resets all streams and closes the link. May be called more than once; never rejects. */
  close(): Promise<void> {
    this.httpAgent.destroy();
    this.httpsAgent.destroy();
    return this.#parts.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  readonly #open = (destination: Destination, options: ConnectOptions): Promise<Duplex> =>
    this.connect(destination, options);
}

/** `destination`: a DestinationLike, if types were checked. Throws UsageError. */
function destinationOf(destination: unknown): Destination {
  try {
    if (typeof destination === 'string') return parseDestination(destination);
    const { host, port } = Object(destination) as Readonly<Record<string, unknown>>;
    if (typeof host !== 'string') throw new NotationError('it has no host');
    return { host: canonicalHost(host), port: parsePort(String(port)) };
  } catch (error) {
    if (!(error instanceof NotationError)) throw error;
    throw new UsageError(`the destination is wrong: ${error.message}`, {
      hint: error.hint ?? 'write host:port, as in: api.example.com:443 or [2001:db8::1]:443',
    });
  }
}

/** `options`: ConnectOptions, if types were checked. Throws UsageError. */
function signalOf(options: unknown): AbortSignal | undefined {
  const { signal } = Object(options) as Readonly<Record<string, unknown>>;
  if (signal === undefined || signal === null || signal instanceof AbortSignal)
    return signal ?? undefined;
  throw new UsageError('signal: it must be an AbortSignal', {
    hint: 'as in: connect(destination, { signal: AbortSignal.timeout(5000) })',
  });
}

function parseDestination(text: string): Destination {
  const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:[\]]*)):([0-9]+)$/.exec(text) ?? [];
  if (port === undefined) throw new NotationError(`${quoted(text)} is not of the form host:port`);
  return { host: canonicalHost(bracketed ?? plain ?? ''), port: parsePort(port) };
}

function closed(to: Destination, { reason: cause }: AbortSignal): TunnelError {
  return new TunnelError('link-closed', `${formatDestination(to)}: the tunnel is closed`, {
    cause,
  });
}
