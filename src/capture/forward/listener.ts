/**
 * One forward: its listening sockets and its clients.
 *
 *   made -> start() listening -> stop() listens no more, its connections go on -> all have ended
 *                             -> close() the same, and they are reset
 *
 * With several addresses those that this machine doesn't have are left out, and it is enough that
 * one of them can be listened on, as with ssh; the others are warned about.
 *
 * Limits: as many clients as places.ts has room for. Any more are reset at once and counted. A
 * client on another host may vanish without a word, so the kernel probes those that are silent for
 * CLIENT_KEEPALIVE_MS.
 */
import { once } from 'node:events';
import { lstatSync, unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import {
  type ListenedPath,
  listenOnSocket,
  makeRoomForSocket,
  SocketPathError,
} from '../../base/unixsocket.ts';
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf, systemCodeOf } from '../../errors/reason.ts';
import type { FlowRequest } from '../../flow/request.ts';
import { resetStream } from '../../flow/reset.ts';
import { type Destination, formatDestination } from '../../net/destination.ts';
import type { Observer } from '../../observe/observer.ts';
import type { ForwardPlaces, ForwardShare } from './places.ts';
import { ForwardRequest } from './request.ts';

/** As for the clients of proxies. Node has the kernel send ten probes, 1 s apart. */
const CLIENT_KEEPALIVE_MS = 300_000;
/** The kernel limits this to net.core.somaxconn. */
const LISTEN_BACKLOG = 4096;
/** With port 0: how many ports are tried that must be free at all addresses. */
const SAME_PORT_ATTEMPTS = 8;
/** The least time between two warnings that the limit is reached. */
const WARN_INTERVAL_MS = 1000;

export type ListenPlace =
  | {
      readonly kind: 'port';
      /** Addresses that share the port. */
      readonly hosts: readonly [string, ...string[]];
      /** 0: any free one. */
      readonly port: number;
    }
  | {
      readonly kind: 'socket';
      /** Absolute. */
      readonly path: string;
      /** Of the socket. */
      readonly mode: number;
      /** A socket that is there is removed, also if somebody listens (StreamLocalBindUnlink). */
      readonly replaces: boolean;
    };

export interface ForwardListenerOptions {
  readonly listen: ListenPlace;
  readonly destination: Destination;
  readonly text: string;
  readonly accept: (request: FlowRequest) => void;
  readonly observer: Observer;
  /** Of all forwards. */
  readonly places: ForwardPlaces;
}

export class ForwardListener {
  readonly #options: ForwardListenerOptions;
  readonly #share: ForwardShare;
  readonly #servers: Server[] = [];
  /** Of its one server, if that listens on a path. */
  #listened: ListenedPath | undefined;
  readonly #clients = new Set<Socket>();
  #warnedAt = Number.NEGATIVE_INFINITY;
  #stopped: Promise<void> | undefined;

  constructor(options: ForwardListenerOptions) {
    this.#options = options;
    this.#share = options.places.share();
  }

  get destination(): Destination {
    return this.#options.destination;
  }

  /** Where it listens, with the real port. */
  get addresses(): readonly string[] {
    return this.#servers.map((server) => {
      const bound = server.address();
      if (bound === null) return '';
      return typeof bound === 'string'
        ? bound
        : formatDestination({ host: bound.address, port: bound.port });
    });
  }

  /** Rejects with TunnelError `forward-listen`. Nothing listens then. */
  async start(signal: AbortSignal): Promise<void> {
    try {
      const { listen } = this.#options;
      if (listen.kind === 'port') await this.#listenOnPort(listen, signal);
      else await this.#listenOnPath(listen);
      signal.throwIfAborted();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Resolves when its last connection has ended. */
  stop(): Promise<void> {
    this.#share.retire();
    this.#stopped ??= Promise.all(
      this.#servers.map(
        (server) =>
          new Promise<void>((resolve) => (this.#listened ?? server).close(() => resolve())),
      ),
    ).then(() => {});
    return this.#stopped;
  }

  close(): Promise<void> {
    const stopped = this.stop();
    for (const client of this.#clients) resetStream(client);
    return stopped;
  }

  async #listenOnPort(
    { hosts, port }: ListenPlace & { kind: 'port' },
    signal: AbortSignal,
  ): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const failures: { readonly host: string; readonly cause: unknown }[] = [];
      const servers: Server[] = [];
      let actual = port;
      for (const host of hosts) {
        const server = this.#create();
        try {
          server.listen({
            ...{ host, port: actual, backlog: LISTEN_BACKLOG },
            ipv6Only: host.includes(':'),
          });
          await once(server, 'listening');
          servers.push(server);
          actual = portOf(server);
        } catch (cause) {
          failures.push({ host, cause });
        }
        if (signal.aborted) break;
      }
      const inUse = failures.filter(({ cause }) => !isAbsent(cause));
      if (port === 0 && inUse.length > 0 && servers.length > 0 && attempt < SAME_PORT_ATTEMPTS) {
        for (const server of servers) server.close();
        continue;
      }
      this.#servers.push(...servers);
      for (const server of servers) this.#watch(server);
      this.#tell(failures, servers.length > 0, actual);
      return;
    }
  }

  /** Throws TunnelError if no address could be listened on. */
  #tell(
    failures: readonly { readonly host: string; readonly cause: unknown }[],
    listens: boolean,
    port: number,
  ): void {
    const { observer } = this.#options;
    const first = failures.find(({ cause }) => !isAbsent(cause)) ?? failures[0];
    if (first !== undefined && !listens)
      throw this.#error(formatDestination({ host: first.host, port }), first.cause);
    for (const { host, cause } of failures) {
      if (isAbsent(cause)) continue;
      const { message, hint } = this.#error(formatDestination({ host, port }), cause);
      observer.log('warning', message, { hint });
    }
  }

  async #listenOnPath({ path, mode, replaces }: ListenPlace & { kind: 'socket' }): Promise<void> {
    const server = this.#create();
    try {
      if (replaces) unlinkSocket(path);
      await makeRoomForSocket(path);
      this.#listened = await listenOnSocket(server, path, mode);
    } catch (cause) {
      throw this.#error(path, cause);
    }
    this.#servers.push(server);
    this.#watch(server);
  }

  #create(): Server {
    return createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#admit(socket));
  }

  #watch(server: Server): void {
    const { observer } = this.#options;
    server.on('error', (cause) => {
      observer.log('warning', `a client of a forward could not be accepted: ${cause.message}`);
      observer.count('tunnel_accept_errors_total');
    });
  }

  #admit(socket: Socket): void {
    const { observer, destination, accept } = this.#options;
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // 'close' follows, and the socket's user listens to that.
      if (error.code === 'ETIMEDOUT') observer.count('tunnel_forward_clients_vanished_total');
    });
    if (!this.#share.take()) {
      observer.count('tunnel_forward_over_limit_total');
      this.#warn();
      resetStream(socket);
      return;
    }
    this.#clients.add(socket);
    socket.on('close', () => {
      this.#clients.delete(socket);
      this.#share.release();
    });
    const { listen } = this.#options;
    if (listen.kind === 'port') socket.setKeepAlive(true, CLIENT_KEEPALIVE_MS);
    observer.count('tunnel_forward_connections_total');
    accept(
      new ForwardRequest(socket, destination, listen.kind === 'socket' ? listen.path : undefined),
    );
  }

  #warn(): void {
    const now = performance.now();
    if (now - this.#warnedAt < WARN_INTERVAL_MS) return;
    this.#warnedAt = now;
    const { observer, text, places } = this.#options;
    observer.log(
      'warning',
      `a client of -L ${text} was turned away: ${this.#share.taken} are already connected, ` +
        `${places.taken} to all forwards`,
    );
  }

  #error(where: string, cause: unknown): TunnelError {
    const { destination } = this.#options;
    const code = systemCodeOf(cause) ?? '';
    const known = LISTEN_PROBLEMS[code];
    const why = cause instanceof SocketPathError ? cause.message : (known?.text ?? reasonOf(cause));
    const { hint } = known ?? { hint: 'choose another address, port or path' };
    return new TunnelError(
      'forward-listen',
      `${where} can't be forwarded to ${formatDestination(destination)}: ${why}`,
      { hint, cause },
    );
  }
}

/** This machine has no such address. */
function isAbsent(cause: unknown): boolean {
  return /^(EADDRNOTAVAIL|EAFNOSUPPORT)$/.test(systemCodeOf(cause) ?? '');
}

function portOf(server: Server): number {
  const bound = server.address();
  return typeof bound === 'object' && bound !== null ? bound.port : 0;
}

/** Removes a socket, whoever listens on it. What else is there stays, for makeRoomForSocket(). */
function unlinkSocket(path: string): void {
  try {
    if (lstatSync(path).isSocket()) unlinkSync(path);
  } catch {
    // What is still there, makeRoomForSocket() tells.
  }
}

const LISTEN_PROBLEMS: Readonly<Record<string, { readonly text: string; readonly hint: string }>> =
  {
    EADDRINUSE: {
      text: 'the port is in use',
      hint: 'choose another port, or 0 for any free one; another ssh or tunnel may have it',
    },
    EADDRNOTAVAIL: {
      text: 'this machine has no such address',
      hint: 'choose one of this machine\'s addresses ("ip address")',
    },
    EAFNOSUPPORT: {
      text: 'this machine does not speak that protocol',
      hint: 'choose an address of the other family',
    },
    EAI_AGAIN: {
      text: 'the name of the address to listen on does not resolve here',
      hint: 'write the address itself; without one, -L listens on loopback',
    },
    ENOTFOUND: {
      text: 'this machine has no address of that name',
      hint: 'write the address itself',
    },
    EACCES: {
      text: 'permission denied',
      hint: 'choose a port above 1023, or a directory that you may write to; users may have lower ports with "sysctl net.ipv4.ip_unprivileged_port_start=80"',
    },
  };
