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
 * Where there is a native part, it has the sockets, except those of HTTP clients: these become
 * Node's with their first byte, because Node's server parses HTTP. Elsewhere Node has them all.
 *
 *   nativelistener.ts -> nativeclient.ts --\
 *   Node's server     -> socketclient.ts ---+-> ProxyClient (client.ts)
 *
 * Limits: admission.ts (number of connections, time to make a request), guesses.ts (passwords),
 * socks.ts and http.ts (lengths, headers). Each has a counter. On close, admission stops first,
 * then open connections are reset.
 */
import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, Socket } from 'node:net';
import { PartStart } from '../../base/partstart.ts';
import { isLinux } from '../../base/platform.ts';
import { TunnelError } from '../../errors/errors.ts';
import { addonIfAny } from '../../native/addon.ts';
import { type Destination, formatDestination } from '../../net/destination.ts';
import type { CounterName } from '../../observe/counters.ts';
import type { Observer } from '../../observe/observer.ts';
import type { Capture, Traffic } from '../capture.ts';
import { Admission } from './admission.ts';
import { formatAnswer, type HttpAnswer, OTHER_USER, SOCKS_ONLY } from './answers.ts';
import type { ClientListener, ProxyClient } from './client.ts';
import { setForClient } from './clientoptions.ts';
import type { Credentials } from './credentials.ts';
import { Guesses } from './guesses.ts';
import { createHttpFront } from './http.ts';
import type { NativeClient } from './nativeclient.ts';
import { NativeClients } from './nativelistener.ts';
import { PAC_PATH } from './pac.ts';
import type { ProxyContext, WritePac } from './request.ts';
import { SocketClient } from './socketclient.ts';
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
 * Whether the process at a connection's other end is the own user's. `user`: whose it is, if the
 * kernel has told that already. A promise where it takes a moment; never throws or rejects.
 */
export type OwnUserCheck = (
  client: Destination,
  proxy: Destination,
  user?: number,
) => boolean | Promise<boolean>;

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
  /** False: Node has the sockets. Default: the native part has them, if there is one. */
  readonly nativeSockets?: boolean;
}

/** One address at which the proxy listens. */
interface Listener {
  readonly host: string;
  readonly port: number;
  /** Listens no more. Resolves when nothing is left of it, once its clients are gone. */
  close(): Promise<unknown>;
}

export class ProxyCapture implements Capture {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #options: ProxyCaptureOptions;
  readonly #admission: Admission;
  readonly #guesses: Guesses;
  #native: NativeClients | undefined;
  readonly #listeners: Listener[] = [];
  /** The first that speaks HTTP. */
  #httpListener: Listener | undefined;
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
    return this.#listeners.map(formatDestination);
  }

  /**
   * Where a browser of this machine finds the script for it: `http://127.0.0.1:1080/proxy.pac`.
   * undefined: there is none, no listener speaks HTTP, or nothing listens yet.
   */
  get pacUrl(): string | undefined {
    if (this.#options.pac === undefined || this.#httpListener === undefined) return undefined;
    const { host, port } = this.#httpListener;
    return `http://${formatDestination({ host: LOOPBACK_OF[host] ?? host, port })}${PAC_PATH}`;
  }

  start({ accept }: Traffic, outer: AbortSignal): Promise<void> {
    return this.#starting.run(outer, async (signal) => {
      this.#native = this.#nativeClients();
      for (const listen of this.#options.listens) {
        const listeners = await this.#listenAll(listen, accept, signal);
        this.#listeners.push(...listeners);
        if (listen.protocols !== 'socks') this.#httpListener ??= listeners[0];
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
    const closed = this.#listeners.map((listener) => listener.close());
    await this.#admission.close();
    await Promise.all(closed);
    this.#native?.end();
    this.#end(undefined);
  }

  /** undefined: there is no native part, or this machine can't do it so. */
  #nativeClients(): NativeClients | undefined {
    const { nativeSockets = isLinux(), observer } = this.#options;
    const native = nativeSockets ? addonIfAny() : undefined;
    if (native === undefined) return undefined;
    try {
      return new NativeClients({ native, admission: this.#admission, observer });
    } catch {
      return undefined; // no descriptor is left: Node will say so when it listens
    }
  }

  async #listenAll(
    listen: ProxyListen,
    accept: Traffic['accept'],
    signal: AbortSignal,
  ): Promise<Listener[]> {
    for (let attempt = 1; ; attempt++) {
      const listeners: Listener[] = [];
      let { port } = listen;
      try {
        for (const host of listen.hosts) {
          const listener = await this.#listen(host, port, listen, accept);
          if (listener === undefined) continue;
          listeners.push(listener);
          signal.throwIfAborted();
          port = listener.port;
        }
        if (listeners.length > 0) return listeners;
        throw listenError(listen.hosts.join(', '), port, { code: 'EADDRNOTAVAIL' });
      } catch (error) {
        for (const listener of listeners) void listener.close();
        const retry = listen.port === 0 && error instanceof TunnelError && listeners.length > 0;
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
  ): Promise<Listener | undefined> {
    const { credentials, observer, pac } = this.#options;
    const context: ProxyContext = {
      accept,
      admission: this.#admission,
      credentials,
      guesses: this.#guesses,
      pac,
      observer,
    };
    try {
      return this.#native === undefined
        ? await this.#listenWithNode({ host, port }, listen, context)
        : this.#listenNatively(this.#native, { host, port }, listen, context);
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
      if (listen.hosts.length > 1 && (code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT'))
        return undefined;
      throw listenError(host, port, cause);
    }
  }

  #listenNatively(
    native: NativeClients,
    at: Destination,
    listen: ProxyListen,
    context: ProxyContext,
  ): Listener {
    const front = createHttpFront(context);
    const { isOwnUser } = this.#options;
    const serveHttp = (client: NativeClient, first: Buffer) => {
      const { place } = client;
      const socket = new Socket({
        ...{ fd: client.release(), readable: true, writable: true },
        allowHalfOpen: true,
      });
      this.#admission.adopt(socket, place);
      socket.unshift(Buffer.from(first));
      front.serve(socket);
    };
    const options = { backlog: LISTEN_BACKLOG, asks: listen.ownUserOnly };
    const reception = { listen, context, isOwnUser, serveHttp };
    const { port, close } = native.listen(at, options, (client, user) => {
      new Newcomer(client, reception, user);
    });
    // Node's server begins to look after its clients' time limits at this event.
    front.server.emit('listening');
    return {
      ...{ host: at.host, port },
      async close() {
        close();
        front.server.close();
      },
    };
  }

  async #listenWithNode(
    { host, port }: Destination,
    listen: ProxyListen,
    context: ProxyContext,
  ): Promise<Listener> {
    const { observer, isOwnUser } = this.#options;
    const front = createHttpFront(context);
    const { server } = front;
    const serveHttp = (client: SocketClient, first: Buffer) => {
      const socket = client.release();
      socket.pause();
      socket.unshift(first);
      front.serve(socket);
      socket.resume();
    };
    const reception = { listen, context, isOwnUser, serveHttp };
    server.on('connection', (socket) => {
      const place = this.#admission.admitSocket(socket);
      if (place === undefined) return;
      setForClient(socket);
      new Newcomer(new SocketClient(socket, place), reception, undefined);
    });
    server.listen({ host, port, ipv6Only: host.includes(':'), backlog: LISTEN_BACKLOG });
    await once(server, 'listening');
    server.on('error', (cause) => {
      observer.log('warning', `a proxy client could not be accepted: ${cause.message}`);
      observer.count('tunnel_accept_errors_total');
    });
    return {
      ...{ host, port: addressOf(server).port },
      close: () => new Promise((resolve) => server.close(resolve)),
    };
  }
}

/** What the clients of one listener need. */
interface Reception<Client extends ProxyClient> {
  readonly listen: ProxyListen;
  readonly context: ProxyContext;
  readonly isOwnUser: OwnUserCheck;
  /** Takes the client over. */
  readonly serveHttp: (client: Client, first: Buffer) => void;
}

/** Waits for a client's first byte, and for the answer whose it is. */
class Newcomer<Client extends ProxyClient> implements ClientListener {
  readonly #client: Client;
  readonly #reception: Reception<Client>;
  readonly #user: number | undefined;

  /** `user`: whose it is, if that is known. */
  constructor(client: Client, reception: Reception<Client>, user: number | undefined) {
    this.#client = client;
    this.#reception = reception;
    this.#user = user;
    client.follow(this);
  }

  octets(first: Buffer): void {
    const client = this.#client;
    const { listen, isOwnUser } = this.#reception;
    const own = !listen.ownUserOnly || isOwnUser(client.source, client.proxyEnd, this.#user);
    if (typeof own === 'boolean') {
      this.#answer(first, own);
      return;
    }
    const kept = Buffer.from(first);
    client.pause();
    void own.then((told) => {
      if (client.closed) return;
      client.resume();
      this.#answer(kept, told);
    });
  }

  end(): void {
    this.#client.destroy();
  }

  #answer(first: Buffer, own: boolean): void {
    if (own) serve(this.#client, first, this.#reception);
    else
      turnAway(
        this.#client,
        first,
        this.#reception.context,
        'tunnel_proxy_other_users_total',
        OTHER_USER,
      );
  }
}

/** Chooses the protocol by the first byte. */
function serve<Client extends ProxyClient>(
  client: Client,
  first: Buffer,
  { listen: { protocols }, context, serveHttp }: Reception<Client>,
): void {
  const socks = isSocks(first);
  if (socks ? protocols === 'http' : protocols === 'socks')
    turnAway(client, first, context, 'tunnel_proxy_protocol_errors_total', SOCKS_ONLY);
  else if (socks) serveSocks(client, first, context);
  else serveHttp(client, first);
}

/** Answers in the client's own protocol; `answer` is for HTTP. */
function turnAway(
  client: ProxyClient,
  first: Buffer,
  { admission, observer }: ProxyContext,
  counter: CounterName,
  answer: HttpAnswer,
): void {
  admission.busy(client.place);
  observer.count(counter);
  client.endWith(isSocks(first) ? wrongProtocolReply(first[0]) : formatAnswer(answer));
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
  EADDRINUSE: {
    text: 'the port is in use',
    hint: 'choose another port, as in "--listen 1081", or 0 for any free one; another tunnel or "ssh -D" may have it',
  },
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
