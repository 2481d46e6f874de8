/**
 * Capture by proxy: programs that can be told of a proxy connect to it and name their destination.
 * No privileges, no device, no route; nothing on the machine changes.
 *
 *   client -> listener -> Admission -> first byte
 *               --- 0x04, 0x05 --> socks.ts    SOCKS 4, 4a, 5
 *               \-- else --------> http.ts     CONNECT, and plain requests in absolute form
 *          -> request read -> FlowRequest
 *          -> accept()             policy and transport decide; the client waits
 *          -> request.open()       success is answered now, not before: the far side is connected
 *          or request.refuse()     the reply code, or the status and a body, that stands for the
 *                                  refusal (answers.ts)
 *
 * States of a client's connection: negotiating (nothing, or part of a request, has come), then
 * dialling, then open. A plain HTTP connection goes back to idle after each request. What a client
 * sends before the answer stays in its socket.
 *
 * Names are handed on as names: whether they are resolved here or at the jump host is the policy's
 * decision. Bytes that are no protocol of the listener are answered in HTTP (400) or SOCKS (no
 * acceptable method) where the client can be told, and closed.
 *
 * Limits: admission.ts (connections altogether, time to make a request), socks.ts and http.ts
 * (lengths, headers). Each has a counter. At the end admission stops first, then open connections
 * are reset.
 */
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { TunnelError } from '../../errors/errors.ts';
import { PartStart } from '../../flow/partstart.ts';
import { formatDestination } from '../../net/destination.ts';
import type { Observer } from '../../observe/observer.ts';
import type { Capture, Traffic } from '../capture.ts';
import { Admission } from './admission.ts';
import { formatAnswer, SOCKS_ONLY } from './answers.ts';
import type { Credentials } from './credentials.ts';
import { createHttpFront } from './http.ts';
import { endWith, type ProxyContext } from './request.ts';
import { serveSocks } from './socks.ts';
import { SOCKS4, SOCKS5, wrongProtocolReply } from './socksmessages.ts';

/**
 * Connections that the kernel has completed and that wait for accept(2); the kernel bounds it by
 * net.core.somaxconn.
 */
const LISTEN_BACKLOG = 4096;
/**
 * With port 0 and two addresses: how often another port is tried when the second address has the
 * first one's in use.
 */
const SAME_PORT_ATTEMPTS = 8;

export type ProxyProtocols = 'socks' | 'http' | 'both';

export interface ProxyListen {
  /**
   * Addresses that share the port; of several, those of a family that this machine doesn't have are
   * left out.
   */
  readonly hosts: readonly [string, ...string[]];
  /** 0: any free one. */
  readonly port: number;
  readonly protocols: ProxyProtocols;
}

export interface ProxyCaptureOptions {
  readonly listens: readonly ProxyListen[];
  /** undefined: nobody is asked who they are. */
  readonly credentials: Credentials | undefined;
  readonly observer: Observer;
  /** How many descriptors this process may have (RLIMIT_NOFILE). */
  readonly descriptors: number;
  /** Milliseconds from a connection to its first whole request; default NEGOTIATION_TIMEOUT_MS. */
  readonly negotiationTimeout?: number;
}

export class ProxyCapture implements Capture {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #options: ProxyCaptureOptions;
  readonly #admission: Admission;
  readonly #servers: Server[] = [];
  readonly #starting = new PartStart();
  #end: (error: TunnelError | undefined) => void = () => {};
  #closing: Promise<void> | undefined;

  constructor(options: ProxyCaptureOptions) {
    this.#options = options;
    this.#admission = new Admission(options);
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** Where it listens: `127.0.0.1:1080`, with the real port. Empty before `start`. */
  get addresses(): readonly string[] {
    return this.#servers.map((server) => {
      const { address, port } = addressOf(server);
      return formatDestination({ host: address, port });
    });
  }

  start({ accept }: Traffic, outer: AbortSignal): Promise<void> {
    return this.#starting.run(outer, async (signal) => {
      for (const listen of this.#options.listens) {
        this.#servers.push(...(await this.#listenAll(listen, accept, signal)));
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
        const again = listen.port === 0 && error instanceof TunnelError && servers.length > 0;
        if (!again || attempt === SAME_PORT_ATTEMPTS) throw error;
      }
    }
  }

  /**
   * undefined: this machine doesn't have the address, and there is another one. Throws TunnelError.
   */
  async #listen(
    host: string,
    port: number,
    { hosts, protocols }: ProxyListen,
    accept: Traffic['accept'],
  ): Promise<Server | undefined> {
    const { credentials, observer } = this.#options;
    const context: ProxyContext = { accept, admission: this.#admission, credentials, observer };
    const front = createHttpFront(context);
    const { server } = front;
    server.on('connection', (socket) => {
      if (!this.#admission.admit(socket)) return;
      dispatch(socket, protocols, context, front.serve);
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
    server.on('error', (cause) => {
      observer.log('warning', `a proxy client could not be accepted: ${cause.message}`);
      observer.count('tunnel_accept_errors_total');
    });
    return server;
  }
}

/** Goes by the first byte. */
function dispatch(
  socket: Socket,
  protocols: ProxyProtocols,
  context: ProxyContext,
  serveHttp: (socket: Socket) => void,
): void {
  const look = (chunk: Buffer) => {
    socket.off('data', look);
    socket.off('end', giveUp);
    const [first] = chunk;
    const isSocks = first === SOCKS5 || first === SOCKS4;
    if (isSocks ? protocols === 'http' : protocols === 'socks') {
      context.admission.busy(socket);
      context.observer.count('tunnel_proxy_protocol_errors_total');
      endWith(socket, isSocks ? wrongProtocolReply(first) : formatAnswer(SOCKS_ONLY));
    } else if (isSocks) {
      serveSocks(socket, chunk, context);
    } else {
      socket.pause();
      socket.unshift(chunk);
      serveHttp(socket);
      socket.resume();
    }
  };
  const giveUp = () => socket.destroy();
  socket.on('data', look);
  socket.on('end', giveUp);
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
  EACCES: { text: 'permission denied', hint: 'choose a port above 1023' },
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
