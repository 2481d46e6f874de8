/**
 * Capture by proxy: programs that support a proxy connect to it and name their destination. It
 * needs no privileges, no device and no route, and changes nothing on the machine.
 *
 *   client -> listener -> Admission -> first byte -> [is it the own user's?]
 *               --- 0x04, 0x05 --> socks.ts    SOCKS 4, 4a, 5
 *               \-- else --------> http.ts     CONNECT, and plain requests in absolute form;
 *                                              GET /proxy.pac is answered by pac.ts
 *          -> request read -> FlowRequest
 *          -> accept()             policy and transport decide; the client waits
 *          -> request.open()       success is answered only now: the far side is connected
 *          or request.refuse()     the reply code, or the status with a body, for this
 *                                  refusal (answers.ts)
 *
 * A listener may be for the program's own user alone. Then a client of another user is turned away,
 * and so is one of which the system doesn't say whose it is.
 *
 * States of a client's connection: negotiating (no whole request has arrived yet), then dialling,
 * then open. A plain HTTP connection goes back to idle after each request. Bytes that a client
 * sends before the answer stay in its socket.
 *
 * Names are passed on as names: the policy decides whether they are resolved here or at the jump
 * host. A client that speaks a protocol that the listener doesn't is answered in HTTP (400) or
 * SOCKS (no acceptable method), and its connection is closed.
 *
 * Limits: admission.ts (number of connections, time to make a request), guesses.ts (passwords),
 * socks.ts and http.ts (lengths, headers). Each has a counter. On close, admission stops first,
 * then open connections are reset.
 */
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { PartStart } from '../../base/partstart.ts';
import { TunnelError } from '../../errors/errors.ts';
import { type Destination, formatDestination } from '../../net/destination.ts';
import type { CounterName } from '../../observe/counters.ts';
import type { Observer } from '../../observe/observer.ts';
import type { Capture, Traffic } from '../capture.ts';
import { Admission } from './admission.ts';
import { formatAnswer, type HttpAnswer, OTHER_USER, SOCKS_ONLY } from './answers.ts';
import { setForAccepted, setForClient } from './clientoptions.ts';
import type { Credentials } from './credentials.ts';
import { Guesses } from './guesses.ts';
import { createHttpFront } from './http.ts';
import { PAC_PATH } from './pac.ts';
import { clientOf, endWith, type ProxyContext, proxyEndOf, type WritePac } from './request.ts';
import { serveSocks } from './socks.ts';
import { SOCKS4, SOCKS5, wrongProtocolReply } from './socksmessages.ts';

/**
 * Connections that the kernel has completed and that wait for accept(2). The kernel limits this to
 * net.core.somaxconn.
 */
const LISTEN_BACKLOG = 4096;
/**
 * With port 0 and two addresses: how many ports are tried when the first address's port is in use
 * at the second.
 */
const SAME_PORT_ATTEMPTS = 8;
/** For how long clients may be accepted that have connected before setForAccepted(). */
const EARLY_CLIENTS_MS = 1000;
/** How this machine connects to itself where all addresses are listened on. */
const LOOPBACK_OF: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

export type ProxyProtocols = 'socks' | 'http' | 'both';

export interface ProxyListen {
  /**
   * Addresses that share the port. If there are several, those that this machine doesn't have are
   * left out.
   */
  readonly hosts: readonly [string, ...string[]];
  /** 0: any free port. */
  readonly port: number;
  readonly protocols: ProxyProtocols;
  /** Only clients that `isOwnUser` confirms are served. */
  readonly ownUserOnly: boolean;
}

/**
 * Whether the process at a connection's other end is the own user's. A promise where that takes a
 * moment; never throws or rejects.
 */
export type OwnUserCheck = (client: Destination, proxy: Destination) => boolean | Promise<boolean>;

export interface ProxyCaptureOptions {
  readonly listens: readonly ProxyListen[];
  /** undefined: clients need not authenticate. */
  readonly credentials: Credentials | undefined;
  readonly isOwnUser: OwnUserCheck;
  /** What listeners that speak HTTP answer to `GET /proxy.pac`. Default: there is none. */
  readonly pac?: WritePac;
  readonly observer: Observer;
  /** How many descriptors this process may have (RLIMIT_NOFILE). */
  readonly descriptors: number;
  /** Milliseconds from a connection to its first whole request; default NEGOTIATION_TIMEOUT_MS. */
  readonly negotiationTimeout?: number;
  /** Milliseconds until the answer to a wrong password; default as in guesses.ts. */
  readonly wrongPasswordDelay?: number;
}

export class ProxyCapture implements Capture {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #options: ProxyCaptureOptions;
  readonly #admission: Admission;
  readonly #guesses: Guesses;
  readonly #servers: Server[] = [];
  /** The first that speaks HTTP. */
  #httpServer: Server | undefined;
  readonly #starting = new PartStart();
  #end: (error: TunnelError | undefined) => void = () => {};
  #closing: Promise<void> | undefined;

  constructor(options: ProxyCaptureOptions) {
    this.#options = options;
    this.#admission = new Admission(options);
    this.#guesses = new Guesses(options.observer, options.wrongPasswordDelay);
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** Where the proxy listens, with the real port: `127.0.0.1:1080`. Empty before `start`. */
  get addresses(): readonly string[] {
    return this.#servers.map((server) => {
      const { address, port } = addressOf(server);
      return formatDestination({ host: address, port });
    });
  }

  /**
   * Where a browser of this machine finds the script for it: `http://127.0.0.1:1080/proxy.pac`.
   * undefined: there is none, no listener speaks HTTP, or nothing listens yet.
   */
  get pacUrl(): string | undefined {
    if (this.#options.pac === undefined || this.#httpServer === undefined) return undefined;
    const { address, port } = addressOf(this.#httpServer);
    return `http://${formatDestination({ host: LOOPBACK_OF[address] ?? address, port })}${PAC_PATH}`;
  }

  start({ accept }: Traffic, outer: AbortSignal): Promise<void> {
    return this.#starting.run(outer, async (signal) => {
      for (const listen of this.#options.listens) {
        const servers = await this.#listenAll(listen, accept, signal);
        this.#servers.push(...servers);
        if (listen.protocols !== 'socks') this.#httpServer ??= servers[0];
        signal.throwIfAborted();
      }
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#starting.end(new TunnelError('capture-closed', 'the proxy is stopping'));
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    await this.#admission.close();
    await Promise.all(closed);
    this.#end(undefined);
  }

  async #listenAll(
    listen: ProxyListen,
    accept: Traffic['accept'],
    signal: AbortSignal,
  ): Promise<Server[]> {
    for (let attempt = 1; ; attempt++) {
      const servers: Server[] = [];
      let { port } = listen;
      try {
        for (const host of listen.hosts) {
          const server = await this.#listen(host, port, listen, accept);
          if (server === undefined) continue;
          servers.push(server);
          signal.throwIfAborted();
          port = addressOf(server).port;
        }
        if (servers.length > 0) return servers;
        throw listenError(listen.hosts.join(', '), port, { code: 'EADDRNOTAVAIL' });
      } catch (error) {
        for (const server of servers) server.close();
        const retry = listen.port === 0 && error instanceof TunnelError && servers.length > 0;
        if (!retry || attempt === SAME_PORT_ATTEMPTS) throw error;
      }
    }
  }

  /**
   * Returns undefined if this machine doesn't have the address, but `hosts` has others. Throws
   * TunnelError.
   */
  async #listen(
    host: string,
    port: number,
    listen: ProxyListen,
    accept: Traffic['accept'],
  ): Promise<Server | undefined> {
    const { hosts } = listen;
    const { credentials, observer, isOwnUser, pac } = this.#options;
    const context: ProxyContext = {
      accept,
      admission: this.#admission,
      credentials,
      guesses: this.#guesses,
      pac,
      observer,
    };
    const front = createHttpFront(context);
    const { server } = front;
    let optionsFrom = Number.POSITIVE_INFINITY;
    server.on('connection', (socket) => {
      if (!this.#admission.admit(socket)) return;
      if (performance.now() < optionsFrom) setForClient(socket);
      dispatch(socket, listen, context, front.serve, isOwnUser);
    });
    server.listen({ host, port, ipv6Only: host.includes(':'), backlog: LISTEN_BACKLOG });
    try {
      await once(server, 'listening');
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
      if (hosts.length > 1 && (code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT'))
        return undefined;
      throw listenError(host, port, cause);
    }
    if (setForAccepted(server)) optionsFrom = performance.now() + EARLY_CLIENTS_MS;
    server.on('error', (cause) => {
      observer.log('warning', `a proxy client could not be accepted: ${cause.message}`);
      observer.count('tunnel_accept_errors_total');
    });
    return server;
  }
}

/** Waits for the first byte, and for the answer whose client it is. */
function dispatch(
  socket: Socket,
  { protocols, ownUserOnly }: ProxyListen,
  context: ProxyContext,
  serveHttp: (socket: Socket) => void,
  isOwnUser: OwnUserCheck,
): void {
  const onFirstChunk = (chunk: Buffer) => {
    socket.off('data', onFirstChunk);
    socket.off('end', giveUp);
    const answer = (own: boolean): void => {
      if (own) serve(socket, chunk, protocols, context, serveHttp);
      else turnAway(socket, chunk, context, 'tunnel_proxy_other_users_total', OTHER_USER);
    };
    const own = !ownUserOnly || isOwnUser(clientOf(socket), proxyEndOf(socket));
    if (typeof own === 'boolean') {
      answer(own);
      return;
    }
    socket.pause();
    void own.then((told) => {
      if (socket.destroyed) return;
      socket.resume();
      answer(told);
    });
  };
  const giveUp = () => socket.destroy();
  socket.on('data', onFirstChunk);
  socket.on('end', giveUp);
}

/** Chooses the protocol by the first byte. The socket is flowing. */
function serve(
  socket: Socket,
  chunk: Buffer,
  protocols: ProxyProtocols,
  context: ProxyContext,
  serveHttp: (socket: Socket) => void,
): void {
  const socks = isSocks(chunk);
  if (socks ? protocols === 'http' : protocols === 'socks') {
    turnAway(socket, chunk, context, 'tunnel_proxy_protocol_errors_total', SOCKS_ONLY);
  } else if (socks) {
    serveSocks(socket, chunk, context);
  } else {
    socket.pause();
    socket.unshift(chunk);
    serveHttp(socket);
    socket.resume();
  }
}

/** Answers in the client's own protocol; `answer` is for HTTP. */
function turnAway(
  socket: Socket,
  chunk: Buffer,
  { admission, observer }: ProxyContext,
  counter: CounterName,
  answer: HttpAnswer,
): void {
  admission.busy(socket);
  observer.count(counter);
  endWith(socket, isSocks(chunk) ? wrongProtocolReply(chunk[0]) : formatAnswer(answer));
}

function isSocks([first]: Buffer): boolean {
  return first === SOCKS5 || first === SOCKS4;
}

function addressOf(server: Server): AddressInfo {
  const bound = server.address();
  if (bound === null || typeof bound === 'string')
    throw new TypeError('a TCP server has an address');
  return bound;
}

const LISTEN_PROBLEMS: Readonly<Record<string, { text: string; hint: string }>> = {
  EADDRINUSE: { text: 'the port is in use', hint: 'choose another port, or 0 for any free one' },
  EADDRNOTAVAIL: {
    text: 'this machine has no such address',
    hint: 'choose one of this machine\'s addresses ("ip address")',
  },
  EAFNOSUPPORT: {
    text: 'this machine does not speak that protocol',
    hint: 'choose an address of the other family',
  },
  EACCES: {
    text: 'permission denied',
    hint: 'choose a port above 1023, or let users have lower ones: "sysctl net.ipv4.ip_unprivileged_port_start=80"',
  },
};

function listenError(host: string, port: number, cause: unknown): TunnelError {
  const code = cause instanceof Object && 'code' in cause ? String(cause.code) : String(cause);
  const { text, hint } = LISTEN_PROBLEMS[code] ?? {
    text: code,
    hint: 'choose another address or port',
  };
  return new TunnelError(
    'capture-listen',
    `the proxy can't listen on ${formatDestination({ host, port })}: ${text}`,
    {
      hint,
      cause,
    },
  );
}
