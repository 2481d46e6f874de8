/**
 * The HTTP front. Node's own server parses the requests (RFC 9112).
 *
 *   CONNECT host:port          -> the socket, detached from the server, becomes a ProxyFlow
 *   GET http://host/... etc.   -> forward.ts, on one of the client's own upstreams
 *   the same with Upgrade      -> forward.ts; after "101" both sockets are joined
 *   GET /proxy.pac             -> pac.ts: for browsers, what goes to the proxy
 *   anything else              -> 400, with a body that explains what this port is
 *
 * Requests that a client sends without waiting for the answers are forwarded one after another, so
 * the servers see them in order. Credentials are requested with 407.
 *
 * Limits: MAX_HEADER_BYTES (431), HEADER_TIME for a head (408), IDLE_TIMEOUT_MS between requests,
 * MAX_PIPELINED. Bodies have no limit in size or time. A request with Upgrade and a body is
 * answered with 501, and so is one with a transfer coding other than chunked.
 */
import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { join } from '../../flow/join.ts';
import { StreamConduit } from '../../flow/streamconduit.ts';
import { formatDestination } from '../../net/destination.ts';
import { NotationError } from '../../net/notation.ts';
import type { CounterName } from '../../observe/counters.ts';
import {
  AUTHENTICATION_REQUIRED,
  badRequest,
  formatAnswer,
  formatHead,
  type HttpAnswer,
  PASSWORD_REQUIRED,
  refusalAnswer,
  TOO_MANY_GUESSES,
} from './answers.ts';
import { answerWith, forward, hasBody } from './forward.ts';
import {
  checkHostFields,
  isLastRecipient,
  isPlainCoding,
  parseAbsoluteForm,
  parseAuthority,
  type RequestTarget,
} from './head.ts';
import { answerWithPac, isPacTarget, pacRefusal } from './pac.ts';
import {
  clientOf,
  endWith,
  type ProxyContext,
  ProxyFlow,
  type ProxyReplies,
  proxyEndOf,
  type WritePac,
  watchForEnd,
} from './request.ts';
import { UpstreamAgent } from './upstreamagent.ts';

/** The largest head of a request. */
export const MAX_HEADER_BYTES = 32 * 1024;
/**
 * The time for a head, and the interval at which Node looks for heads that take longer. Both are
 * fractions of Admission's time for a first request. Together they are less than one, so that an
 * HTTP client gets an answer before Admission resets it.
 */
const HEADER_TIME = 2 / 3;
const CHECK_TIME = 1 / 6;
/** How many milliseconds a connection may stay open between two requests. */
const IDLE_TIMEOUT_MS = 90_000;
/**
 * The most requests of one connection that wait or are being answered. Clients that pipeline at all
 * send only a few.
 */
export const MAX_PIPELINED = 32;

export interface HttpFront {
  /**
   * Not listening yet. The caller handles its 'connection' event: a socket is served only when it
   * is passed to `serve`.
   */
  readonly server: Server;
  readonly serve: (socket: Socket) => void;
}

/** Why a client is not served. */
interface Denial {
  readonly answer: HttpAnswer;
  /** Its password was wrong: the answer is delayed. */
  readonly guessed: boolean;
}

/** As what the proxy is asked: where a client's password is then, and how it is asked for one. */
interface Addressee {
  readonly field: 'proxy-authorization' | 'authorization';
  readonly unauthenticated: HttpAnswer;
}

const TO_PROXY: Addressee = {
  field: 'proxy-authorization',
  unauthenticated: AUTHENTICATION_REQUIRED,
};
/** For what the proxy itself serves. */
const TO_ORIGIN: Addressee = { field: 'authorization', unauthenticated: PASSWORD_REQUIRED };

/** A client connection that makes plain requests. */
interface Client {
  readonly upstreams: UpstreamAgent;
  /** How many requests wait or are being answered. `last` settles when the last one is over. */
  outstanding: number;
  last: Promise<void>;
}

export function createHttpFront(context: ProxyContext): HttpFront {
  const server = createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: context.admission.timeout * HEADER_TIME,
    requestTimeout: 0,
    keepAliveTimeout: IDLE_TIMEOUT_MS,
    connectionsCheckingInterval: context.admission.timeout * CHECK_TIME,
    requireHostHeader: false, // Node's own answer has no body
  });
  // Node's server serves its sockets from a listener to its own 'connection' event. The server must
  // listen itself, because only then does it enforce the time limit for heads. But a socket may be
  // served only once it is known to speak HTTP.
  const [serve] = server.listeners('connection');
  if (serve === undefined)
    throw new TypeError("Node's HTTP server serves its connections in another way than it did");
  server.removeAllListeners('connection');
  const front = new HttpRequests(context);
  server.on('request', (request, response) => front.plain(request, response, false));
  server.on('checkContinue', (request, response) => front.plain(request, response, true));
  server.on('checkExpectation', (request, response) => front.plain(request, response, false, true));
  server.on('connect', (request, socket, head) => front.tunnel(request, socket, head));
  server.on('upgrade', (request, socket, head) => front.upgrade(request, socket, head));
  server.on('clientError', (error, socket) => front.malformed(error, socket));
  return { server, serve: (socket) => serve.call(server, socket) };
}

class HttpRequests {
  readonly #context: ProxyContext;
  readonly #clients = new WeakMap<Duplex, Client>();

  constructor(context: ProxyContext) {
    this.#context = context;
  }

  tunnel(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { socket: client } = request;
    const { accept, admission, observer } = this.#context;
    admission.busy(client);
    if (head.length > 0) socket.unshift(head);
    // The answer to an earlier request would end up inside the tunnel.
    if (this.#outstanding(socket) > 0) {
      observer.count('tunnel_proxy_pipeline_limit_total');
      client.resetAndDestroy();
      return;
    }
    const denied = this.#authenticate(request, TO_PROXY);
    if (denied !== undefined) {
      this.#afterGuess(denied, client, () => endWith(socket, formatAnswer(denied.answer)));
      return;
    }
    let flow: ProxyFlow;
    try {
      flow = new ProxyFlow(client, parseAuthority(request.url ?? ''), CONNECT_REPLIES);
    } catch (error) {
      endWith(socket, formatAnswer(this.#unusable(request, error)));
      return;
    }
    observer.count('tunnel_proxy_requests_total');
    accept(flow);
  }

  /** `expectsUnknown`: the client expects something other than "100 Continue". */
  plain(
    request: IncomingMessage,
    response: ServerResponse,
    expectsContinue: boolean,
    expectsUnknown = false,
  ): void {
    const { socket } = request;
    const { admission, observer } = this.#context;
    admission.busy(socket);
    const client = this.#client(socket);
    if (client.outstanding >= MAX_PIPELINED) {
      observer.count('tunnel_proxy_pipeline_limit_total');
      socket.resetAndDestroy();
      return;
    }
    client.outstanding++;
    client.last = client.last
      .then(() =>
        expectsUnknown
          ? answerWith(request, response, UNKNOWN_EXPECTATION)
          : this.#answer(request, response, client, expectsContinue),
      )
      .finally(() => {
        if (--client.outstanding === 0) admission.idle(socket);
      });
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { socket: plain } = request;
    this.#context.admission.busy(plain);
    const client = this.#client(plain);
    if (client.outstanding > 0) {
      this.#context.observer.count('tunnel_proxy_pipeline_limit_total');
      plain.resetAndDestroy();
      return;
    }
    client.outstanding++;
    // Any answer except "101" is sent as usual, and is the connection's last.
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(plain);
    // Node's server does this, but only for the sockets that it still has.
    const drained = () => response.emit('drain');
    plain.on('drain', drained);
    response.once('finish', () => {
      plain.off('drain', drained);
      response.detachSocket(plain);
      endWith(socket, Buffer.alloc(0));
    });
    const unwatch = watchForEnd(socket, () => {
      response.destroy();
      socket.destroy();
    });
    response.once('finish', unwatch);
    if (hasBody(request)) {
      answerWith(request, response, UPGRADE_WITH_BODY);
      return;
    }
    const done = (answer: IncomingMessage, stream: Duplex, rest: Buffer) => {
      unwatch();
      plain.off('drain', drained);
      response.detachSocket(plain);
      if (head.length > 0) socket.unshift(head);
      if (rest.length > 0) stream.unshift(rest);
      stream.allowHalfOpen = true;
      socket.write(formatHead(101, answer.statusMessage, answer.rawHeaders), 'latin1');
      join(new StreamConduit(socket), new StreamConduit(stream), () => {
        // Nothing to do when both are over: nobody counts them.
      });
    };
    void this.#answer(request, response, client, false, {
      protocol: request.headers.upgrade ?? '',
      done,
    });
  }

  /**
   * Handles bytes that aren't a request, heads that are too large or take too long, and connections
   * that break.
   */
  malformed(error: NodeJS.ErrnoException, socket: Duplex): void {
    const { admission, observer } = this.#context;
    const answer = MALFORMED[error.code ?? ''];
    if (error.code === 'ECONNRESET' || !socket.writable) {
      socket.destroy();
      return;
    }
    if (socket instanceof Socket) admission.busy(socket);
    observer.count(answer?.counter ?? 'tunnel_proxy_protocol_errors_total');
    endWith(socket, formatAnswer(answer ?? NOT_HTTP));
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    { upstreams }: Client,
    expectsContinue: boolean,
    upgrade?: {
      protocol: string;
      done: (answer: IncomingMessage, stream: Duplex, head: Buffer) => void;
    },
  ): Promise<void> {
    if (response.destroyed) return;
    const { pac } = this.#context;
    if (pac !== undefined && isPacTarget(request.url)) {
      await this.#answerWithPac(request, response, pac);
      return;
    }
    if (await this.#denies(request, response, TO_PROXY)) return;
    if (!isPlainCoding(request.headers['transfer-encoding'])) {
      answerWith(request, response, UNKNOWN_CODING);
      return;
    }
    let target: RequestTarget;
    try {
      checkHostFields(request);
      target = parseAbsoluteForm(request.url ?? '', request.method);
    } catch (error) {
      answerWith(request, response, this.#unusable(request, error));
      return;
    }
    if (isLastRecipient(request)) {
      answerWith(request, response, LAST_RECIPIENT);
      return;
    }
    this.#context.observer.count('tunnel_proxy_requests_total');
    const common = { request, response, target, upstreams, expectsContinue };
    await forward(upgrade === undefined ? common : { ...common, upgrade });
  }

  async #answerWithPac(
    request: IncomingMessage,
    response: ServerResponse,
    pac: WritePac,
  ): Promise<void> {
    const { observer } = this.#context;
    let refused: HttpAnswer | undefined;
    try {
      refused = pacRefusal(request);
    } catch (error) {
      answerWith(request, response, this.#unusable(request, error));
      return;
    }
    if (refused !== undefined) {
      observer.count('tunnel_proxy_pac_refused_total');
      answerWith(request, response, refused);
      return;
    }
    if (!(await this.#denies(request, response, TO_ORIGIN)))
      answerWithPac(request, response, pac, observer);
  }

  /** Whether the client may not be served. Then it has been told so. */
  async #denies(
    request: IncomingMessage,
    response: ServerResponse,
    addressee: Addressee,
  ): Promise<boolean> {
    const denied = this.#authenticate(request, addressee);
    if (denied === undefined) return false;
    await new Promise<void>((answered) => {
      this.#afterGuess(denied, request.socket, answered);
    });
    answerWith(request, response, denied.answer);
    return true;
  }

  /** undefined: the client may use the proxy. */
  #authenticate(
    { headers, socket }: IncomingMessage,
    { field, unauthenticated }: Addressee,
  ): Denial | undefined {
    const { credentials, guesses, observer } = this.#context;
    if (credentials === undefined) return undefined;
    const given = headers[field];
    // Most clients send no credentials until they are asked, so that is no failure.
    if (given === undefined) return { answer: unauthenticated, guessed: false };
    const client = clientOf(socket);
    const tooMany = !guesses.mayTry(client.host);
    if (!tooMany && credentials.acceptsBasic(given)) return undefined;
    observer.count('tunnel_proxy_authentication_failures_total');
    const why = tooMany ? TOO_MANY_GUESSES.why : 'the user or the password is wrong';
    observer.log('info', `proxy client ${formatDestination(client)}: ${why}`);
    return tooMany
      ? { answer: TOO_MANY_GUESSES, guessed: false }
      : { answer: unauthenticated, guessed: true };
  }

  /** Calls `answer` when the client may have it. */
  #afterGuess({ guessed }: Denial, client: Socket, answer: () => void): void {
    if (guessed) this.#context.guesses.wrong(clientOf(client).host, answer);
    else answer();
  }

  #unusable({ socket }: IncomingMessage, error: unknown): HttpAnswer {
    if (!(error instanceof NotationError)) throw error;
    const { observer } = this.#context;
    observer.count('tunnel_proxy_protocol_errors_total');
    observer.log('info', `proxy client ${formatDestination(clientOf(socket))}: ${error.message}`);
    return badRequest(error.message, error.hint ?? 'Check the address.');
  }

  #client(socket: Socket): Client {
    const known = this.#clients.get(socket);
    if (known !== undefined) return known;
    const upstreams = new UpstreamAgent(
      { source: clientOf(socket), peer: proxyEndOf(socket) },
      this.#context.accept,
    );
    const client = { upstreams, outstanding: 0, last: Promise.resolve() };
    this.#clients.set(socket, client);
    socket.once('close', () => upstreams.destroy());
    return client;
  }

  #outstanding(socket: Duplex): number {
    return this.#clients.get(socket)?.outstanding ?? 0;
  }
}

const CONNECT_REPLIES: ProxyReplies = {
  success: () => Buffer.from(formatHead(200, 'Connection established', [])),
  failure: (refusal, why) => formatAnswer(refusalAnswer(refusal, why)),
};

const UPGRADE_WITH_BODY: HttpAnswer = {
  status: 501,
  error: 'http_request_error',
  why: 'a request that changes the protocol and has a body is not supported',
  hint: 'Leave out the Upgrade field, or the body.',
};

const UNKNOWN_CODING: HttpAnswer = {
  status: 501,
  error: 'http_request_error',
  why: 'the body has a transfer coding other than chunked',
  hint: 'Compress the content instead (Content-Encoding).',
};

/** RFC 9110 §10.1.1 */
const UNKNOWN_EXPECTATION: HttpAnswer = {
  status: 417,
  error: 'http_request_error',
  why: 'the request has an expectation that this proxy does not know',
  hint: 'Leave out the Expect field, or send "100-continue".',
};

/** RFC 9110 §7.6.2 */
const LAST_RECIPIENT: HttpAnswer = {
  status: 501,
  error: 'http_request_error',
  why: 'Max-Forwards is 0: the request must not be passed on, and this proxy does not answer it',
  hint: 'Leave out the Max-Forwards field.',
};

const NOT_HTTP: HttpAnswer = badRequest(
  'this is a proxy, and what it received is not an HTTP request',
  'Write http:// in the address of the proxy: it does not accept TLS.',
);

/** Keyed by the error codes of Node's parser and server. */
const MALFORMED: Readonly<Record<string, HttpAnswer & { readonly counter: CounterName }>> = {
  HPE_HEADER_OVERFLOW: {
    status: 431,
    error: 'http_request_error',
    why: `the head of the request is larger than ${MAX_HEADER_BYTES / 1024} KiB`,
    hint: 'Send fewer or shorter fields; cookies are the usual cause.',
    counter: 'tunnel_proxy_header_limit_total',
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    error: 'http_request_error',
    why: 'the head of the request was not complete in time',
    hint: 'Try again.',
    counter: 'tunnel_proxy_negotiation_timeouts_total',
  },
};
