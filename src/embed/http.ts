/**
 * HTTP through the tunnel: agents for node:http and node:https, and the `connect` function of
 * undici. TLS is spoken from here to the server, and the jump host sees only octets.
 */
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent, type RequestOptions } from 'node:https';
import { isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { type OpenStream, TunnelSocket } from './socket.ts';

const DEFAULT_PORTS = { http: 80, https: 443 } as const;

type Created = (error: Error | null, stream: Duplex) => void;

interface Where {
  readonly host?: string | null | undefined;
  readonly hostname?: string | null | undefined;
  readonly port?: string | number | null | undefined;
}

/** For `http.request({ agent })`. It keeps connections for the next request. */
export class TunnelHttpAgent extends HttpAgent {
  readonly #open: OpenStream;

  constructor(open: OpenStream) {
    super({ keepAlive: true });
    this.#open = open;
  }

  override createConnection(options: Where, _created?: Created): Duplex {
    return dial(this.#open, options, DEFAULT_PORTS.http);
  }
}

/** For `https.request({ agent })`. The certificate is checked against the URL's own name. */
export class TunnelHttpsAgent extends HttpsAgent {
  readonly #open: OpenStream;

  constructor(open: OpenStream) {
    super({ keepAlive: true });
    this.#open = open;
  }

  override createConnection(options: RequestOptions, _created?: Created): Duplex {
    const { socket, host } = secured(this.#open, options);
    return connectTls({ ...(options as ConnectionOptions), socket, ...named(options, host) });
  }
}

/** What undici tells its `connect` function. */
export interface UndiciConnectOptions {
  readonly hostname: string;
  readonly host?: string;
  readonly protocol: string;
  readonly port: string;
  readonly servername?: string | null;
}

export type UndiciConnectCallback = (
  ...result: [error: null, socket: Socket | TLSSocket] | [error: Error, socket: null]
) => void;

/** The type of undici's `buildConnector.connector`, as its versions 6 and 7 have it. */
export type UndiciConnect = (
  options: UndiciConnectOptions,
  callback: UndiciConnectCallback,
) => void;

/** For `new Agent({ connect })` of the caller's own undici. HTTP/1.1 only. */
export function undiciConnect(open: OpenStream, tls: ConnectionOptions = {}): UndiciConnect {
  return (options, callback) => {
    const secure = options.protocol === 'https:';
    let socket: Duplex;
    let done: string;
    if (secure) {
      const { socket: stream, host } = secured(open, options);
      const names = named({ servername: options.servername ?? undefined }, host);
      socket = connectTls({ ...tls, socket: stream, ...names, ALPNProtocols: ['http/1.1'] });
      done = 'secureConnect';
    } else {
      socket = dial(open, options, DEFAULT_PORTS.http);
      done = 'connect';
    }
    const failed = (error: Error): void => {
      socket.off(done, connected);
      callback(error, null);
    };
    const connected = (): void => {
      socket.off('error', failed);
      // It has what undici calls on a socket.
      callback(null, socket as Socket);
    };
    socket.once('error', failed);
    socket.once(done, connected);
  };
}

function secured(open: OpenStream, where: Where): { socket: TunnelSocket; host: string } {
  return { socket: dial(open, where, DEFAULT_PORTS.https), host: hostOf(where) };
}

function dial(open: OpenStream, where: Where, standard: number): TunnelSocket {
  return new TunnelSocket(open).connect({ host: hostOf(where), port: where.port || standard });
}

function hostOf({ hostname, host }: Where): string {
  return (hostname ?? host ?? 'localhost').replace(/^\[(.*)\]$/, '$1');
}

/** The name that the certificate must have; an address is no server name (RFC 6066 §3). */
function named({ servername }: { readonly servername?: string | undefined }, host: string) {
  const name = servername ?? '';
  return { host, servername: name !== '' ? name : isIP(host) === 0 ? host : '' };
}
