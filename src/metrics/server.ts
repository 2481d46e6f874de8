/**
 * The listener of `--metrics`: HTTP/1.1 on a Unix socket or on a port of loopback. One answer a
 * connection.
 *
 *   connected ── GET or HEAD /metrics ──► 200, the metrics ──► closed when they have been read
 *         │  ├── another path or method, another Host ──► 404, 405, 403
 *         │  └── not HTTP, or a head of more than MAX_HEAD_BYTES ──► 400, 431
 *         └───── CLIENT_MS after it has connected, in whatever state ──► closed
 *
 * Metrics are made when somebody asks, and not more often than every FRESH_MS. All who ask within
 * that time share one text. So a client that hangs, or reads slowly, costs at most one text, for
 * CLIENT_MS; and who asks in a loop costs no more than who asks five times a second.
 *
 * On a port, `Host` must be an address or "localhost": otherwise a web page could read the metrics
 * with a name of its own that resolves to loopback (DNS rebinding).
 *
 * Limits: MAX_CLIENTS at a time; any more are closed at once. All of these are counted.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import {
  type ListenedPath,
  listenOnSocket,
  makeRoomForSocket,
  SocketPathError,
} from '../base/unixsocket.ts';
import type { MetricsPlace } from '../config/configuration.ts';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf, systemCodeOf, writeReasonOf } from '../errors/reason.ts';
import { isAddress } from '../net/address.ts';
import type { Observer } from '../observe/observer.ts';

export const MAX_CLIENTS = 16;
/** From its connection to its end. Prometheus itself gives up after 10 s. */
export const CLIENT_MS = 15_000;
export const MAX_HEAD_BYTES = 8 * 1024;
export const FRESH_MS = 200;
/** For Node's own check of time limits, which are not used: as seldom as a timer can be. */
const NEVER_MS = 2 ** 31 - 1;

/** Version 0.0.4 of the text format. */
const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export interface MetricsServerOptions {
  readonly place: MetricsPlace;
  readonly text: () => Promise<string>;
  readonly observer: Observer;
  /** Default: CLIENT_MS. */
  readonly clientMs?: number;
}

export class MetricsServer {
  readonly #options: MetricsServerOptions;
  readonly #clients = new Set<Socket>();
  #server: Server | undefined;
  /** Of the server, if that listens on a path. */
  #listened: ListenedPath | undefined;
  #made: { readonly at: number; readonly text: Promise<string> } | undefined;
  #failed = false;
  #closed = false;

  constructor(options: MetricsServerOptions) {
    this.#options = options;
  }

  /** Where it listens, as people write it. */
  get where(): string {
    const { place } = this.#options;
    if (place.kind === 'socket') return place.path;
    const bound = this.#server?.address();
    const { address, port } =
      typeof bound === 'object' && bound !== null
        ? bound
        : { address: place.host, port: place.port };
    return address.includes(':') ? `http://[${address}]:${port}` : `http://${address}:${port}`;
  }

  /** Rejects with TunnelError `metrics-unavailable`. */
  async start(): Promise<void> {
    const { place } = this.#options;
    if (place.kind === 'socket') await makeRoomFor(place.path);
    const server = createServer(
      {
        maxHeaderSize: MAX_HEAD_BYTES,
        headersTimeout: 0,
        requestTimeout: 0,
        connectionsCheckingInterval: NEVER_MS,
      },
      (request, response) => void this.#answer(request, response),
    );
    server.on('connection', (socket) => this.#accept(socket));
    server.on('clientError', (error, socket) => {
      this.#options.observer.count('tunnel_metrics_bad_requests_total');
      const tooLong = 'code' in error && error.code === 'HPE_HEADER_OVERFLOW';
      const status = tooLong ? '431 Request Header Fields Too Large' : '400 Bad Request';
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
    });
    try {
      this.#listened = await listen(server, place);
    } catch (error) {
      throw unavailable(place, whyNot(error), error);
    }
    // A client that could not be accepted finds out by itself.
    server.on('error', () => {});
    server.unref();
    this.#server = server;
    if (this.#closed) await this.close();
  }

  /** Never rejects. */
  async close(): Promise<void> {
    this.#closed = true;
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    await new Promise<void>((resolve) => {
      (this.#listened ?? server).close(() => resolve());
      for (const client of this.#clients) client.destroy();
    });
  }

  #accept(socket: Socket): void {
    const { observer, clientMs = CLIENT_MS } = this.#options;
    if (this.#clients.size >= MAX_CLIENTS) {
      observer.count('tunnel_metrics_over_limit_total');
      socket.destroy();
      return;
    }
    this.#clients.add(socket);
    const deadline = setTimeout(() => {
      observer.count('tunnel_metrics_timeouts_total');
      socket.destroy();
    }, clientMs);
    deadline.unref();
    socket.on('close', () => {
      clearTimeout(deadline);
      this.#clients.delete(socket);
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader('Connection', 'close');
    const refusal = this.#refusalOf(request);
    if (refusal !== undefined) {
      this.#options.observer.count('tunnel_metrics_bad_requests_total');
      if (refusal === 405) response.setHeader('Allow', 'GET, HEAD');
      send(response, refusal, `${EXPLANATIONS[refusal]}\n`);
      return;
    }
    this.#options.observer.count('tunnel_metrics_requests_total');
    try {
      const text = await this.#text();
      response.setHeader('Content-Type', CONTENT_TYPE);
      send(response, 200, text);
    } catch (error) {
      this.#sayOnce(error);
      send(response, 500, 'the metrics could not be made\n');
    }
  }

  #refusalOf({
    method,
    url = '',
    headers,
  }: IncomingMessage): keyof typeof EXPLANATIONS | undefined {
    if (this.#options.place.kind === 'port' && !isOfLoopback(headers.host)) return 403;
    if (url.split('?', 1)[0] !== '/metrics') return 404;
    return method === 'GET' || method === 'HEAD' ? undefined : 405;
  }

  #text(): Promise<string> {
    const now = performance.now();
    if (this.#made === undefined || now - this.#made.at >= FRESH_MS)
      this.#made = { at: now, text: this.#options.text() };
    return this.#made.text;
  }

  #sayOnce(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#options.observer.log('warning', `the metrics could not be made: ${reasonOf(error)}`);
  }
}

const EXPLANATIONS = {
  403: 'ask with an address or "localhost" as the host',
  404: 'the metrics are at /metrics',
  405: 'only GET and HEAD are answered',
} as const;

function send(response: ServerResponse, status: number, text: string): void {
  response.statusCode = status;
  if (!response.hasHeader('Content-Type'))
    response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  const body = Buffer.from(text);
  response.setHeader('Content-Length', body.length);
  response.end(body);
}

/** `Host` of a request, with or without a port. */
function isOfLoopback(host = ''): boolean {
  const [, bracketed, plain] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::[0-9]*)?$/.exec(host) ?? [];
  const name = bracketed ?? plain ?? '';
  return name.toLowerCase() === 'localhost' || isAddress(name);
}

async function listen(server: Server, place: MetricsPlace): Promise<ListenedPath | undefined> {
  if (place.kind === 'socket') return listenOnSocket(server, place.path);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: place.host, port: place.port, ipv6Only: true }, resolve);
  });
  server.removeAllListeners('error');
  return undefined;
}

/** Throws TunnelError. */
async function makeRoomFor(path: string): Promise<void> {
  try {
    await makeRoomForSocket(path);
  } catch (error) {
    const place = { kind: 'socket', path } as const;
    throw unavailable(place, whyNot(error), error);
  }
}

function whyNot(error: unknown): string {
  if (error instanceof SocketPathError) return error.message;
  return LISTEN_REASONS[systemCodeOf(error)] ?? writeReasonOf(error);
}

const LISTEN_REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the port is in use',
  EADDRNOTAVAIL: 'this machine has no such address',
};

function unavailable(place: MetricsPlace, why: string, cause?: unknown): TunnelError {
  const where = place.kind === 'socket' ? place.path : `${place.host}:${place.port}`;
  const hint = hintFor(place, systemCodeOf(cause));
  return new TunnelError('metrics-unavailable', `--metrics ${where}: ${why}`, { hint, cause });
}

function hintFor(place: MetricsPlace, code: string): string {
  if (place.kind === 'socket')
    return 'name a new file in a directory of yours, such as $XDG_RUNTIME_DIR/metrics.sock';
  switch (code) {
    case 'EADDRINUSE':
      return 'another program listens there, perhaps another tunnel: choose another port; 0 is any free one';
    case 'EACCES':
      return 'ports below 1024 are for root: choose a higher one';
    default:
      return `name a port of loopback, such as 127.0.0.1:${place.port}`;
  }
}
