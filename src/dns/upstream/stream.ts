/**
 * Asks the resolvers behind the jump host by TCP through the tunnel (RFC 7766).
 *
 *   resolve() -> the servers in the order given; those that failed recently come last
 *             -> the server's one connection (connection.ts), opened for the first query
 *             -> the answer, or the next server after: no connection, no answer in time, SERVFAIL,
 *                REFUSED, NOTIMP, FORMERR
 *
 * A server may close a connection at any time, even while queries wait (RFC 7766 §6.2.4). These are
 * sent again on another connection: once, and then for as long as each connection has answered
 * something (dnsmasq closes after a hundred answers). Every query ends within TOTAL_TIMEOUT_MS.
 * While the link is down names fail; they are never sent elsewhere.
 *
 * Limits: MAX_IN_FLIGHT queries; any more are refused at once and counted.
 */
import type { Duplex } from 'node:stream';
import type { GiveUpSignal } from '../../base/giveup.ts';
import { within } from '../../base/within.ts';
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf } from '../../errors/reason.ts';
import { type Destination, formatDestination } from '../../net/destination.ts';
import type { Observer } from '../../observe/observer.ts';
import { composeQuery, type UpstreamAnswer } from '../wire/compose.ts';
import type { Question } from '../wire/query.ts';
import { type Received, StreamConnection } from './connection.ts';
import { isUnhelpful, type Resolver, rejectsEdns, takeAnswer, upstreamError } from './resolver.ts';

export const MAX_IN_FLIGHT = 2048;
/** For one server. Its recursion may take seconds, and clients wait about 5 s for each try. */
const ATTEMPT_TIMEOUT_MS = 4_000;
/** For all servers together, including the time to open connections. */
const TOTAL_TIMEOUT_MS = 10_000;
/** For this long after a failure, a server is asked last. */
const AVOID_MS = 30_000;

export interface StreamUpstreamOptions {
  /** At least one. */
  readonly servers: readonly Destination[];
  /** Opens a stream; a transport's `connect` is one. */
  readonly connect: (
    destination: Destination,
    options: { readonly signal: GiveUpSignal },
  ) => Promise<Duplex>;
  readonly observer: Observer;
  readonly attemptTimeoutMs?: number;
  readonly totalTimeoutMs?: number;
}

interface Server {
  readonly destination: Destination;
  connection: Promise<StreamConnection> | undefined;
  /** In ms of performance.now(). */
  avoidUntil: number;
  /** False once it has shown that it doesn't know EDNS. */
  edns: boolean;
}

export class StreamUpstream implements Resolver {
  readonly #options: StreamUpstreamOptions;
  readonly #servers: readonly Server[];
  readonly #closing = new AbortController();
  #inFlight = 0;

  constructor(options: StreamUpstreamOptions) {
    this.#options = options;
    this.#servers = options.servers.map((destination) => ({
      destination,
      connection: undefined,
      avoidUntil: 0,
      edns: true,
    }));
  }

  async resolve(question: Question): Promise<UpstreamAnswer> {
    const { observer } = this.#options;
    if (this.#closing.signal.aborted)
      throw upstreamError('closed', 'the resolvers are not asked any more');
    if (this.#inFlight >= MAX_IN_FLIGHT) {
      observer.count('tunnel_dns_upstream_over_limit_total');
      throw upstreamError('busy', `${MAX_IN_FLIGHT} queries are on their way already`);
    }
    this.#inFlight += 1;
    observer.count('tunnel_dns_upstream_queries_total');
    try {
      return await this.#ask(question);
    } finally {
      this.#inFlight -= 1;
    }
  }

  close(): void {
    this.#closing.abort(upstreamError('closed', 'the resolvers are not asked any more'));
    for (const server of this.#servers) {
      server.connection?.then(
        (connection) => connection.close(),
        () => {}, // it failed to open, so there is nothing to close
      );
    }
  }

  async #ask(question: Question): Promise<UpstreamAnswer> {
    const deadline = performance.now() + (this.#options.totalTimeoutMs ?? TOTAL_TIMEOUT_MS);
    let unhelpful: UpstreamAnswer | undefined;
    let failure: unknown = upstreamError('timeout', 'no resolver answered in time');
    for (const server of this.#inOrder()) {
      if (performance.now() >= deadline || this.#closing.signal.aborted) break;
      try {
        const { bytes, view } = await this.#askServer(server, question, deadline);
        server.avoidUntil = 0;
        const answer = takeAnswer(bytes, view);
        if (!isUnhelpful(answer.rcode)) return answer;
        unhelpful ??= answer;
      } catch (error) {
        failure = error;
        this.#avoid(server, error);
      }
    }
    if (unhelpful !== undefined) return unhelpful;
    this.#options.observer.count('tunnel_dns_upstream_failures_total');
    throw failure;
  }

  #inOrder(): Server[] {
    const now = performance.now();
    const avoided = (server: Server) => (server.avoidUntil > now ? 1 : 0);
    return [...this.#servers].sort((a, b) => avoided(a) - avoided(b));
  }

  #avoid(server: Server, error: unknown): void {
    if (this.#closing.signal.aborted) return;
    const now = performance.now();
    const where = `${formatDestination(server.destination)}: `;
    const reason = reasonOf(error);
    const message = reason.startsWith(where) ? reason : where + reason;
    // If the server is already known to fail, a second warning would only repeat the first.
    this.#options.observer.log(
      server.avoidUntil > now ? 'debug' : 'warning',
      `resolver ${message}`,
    );
    server.avoidUntil = now + AVOID_MS;
  }

  async #askServer(server: Server, question: Question, deadline: number): Promise<Received> {
    for (let retries = 0; ; retries++) {
      const connection = await this.#connection(server, deadline);
      const before = connection.answered;
      const { edns } = server;
      try {
        const received = await connection.query(
          composeQuery(question, { edns }),
          question,
          Math.min(this.#attemptMs(), deadline - performance.now()),
        );
        if (!edns || !rejectsEdns(received.view)) return received;
        server.edns = false;
      } catch (error) {
        const closed = error instanceof TunnelError && error.code === 'dns-closed';
        const mayRetry = retries === 0 || connection.answered > before;
        if (!closed || !mayRetry || performance.now() >= deadline || this.#closing.signal.aborted)
          throw error;
        this.#options.observer.count('tunnel_dns_upstream_retries_total');
      }
    }
  }

  #attemptMs(): number {
    return this.#options.attemptTimeoutMs ?? ATTEMPT_TIMEOUT_MS;
  }

  /** The server's connection, opened once for all queries that wait for it. */
  async #connection(server: Server, deadline: number): Promise<StreamConnection> {
    const known = server.connection;
    // The query that opened it has reported why it failed.
    const current = await known?.catch(() => undefined);
    if (current !== undefined && !current.closed) return current;
    // Another waiting query may have opened a new one in the meantime.
    if (server.connection === known || server.connection === undefined) {
      const opening = this.#open(server.destination, deadline);
      server.connection = opening;
      opening.catch(() => {
        if (server.connection === opening) server.connection = undefined;
      });
    }
    return server.connection;
  }

  async #open(destination: Destination, deadline: number): Promise<StreamConnection> {
    const { connect, observer } = this.#options;
    const { signal } = this.#closing;
    const milliseconds = Math.min(this.#attemptMs(), deadline - performance.now());
    const late = upstreamError('timeout', 'no connection in time');
    try {
      const stream = await within({ signal, time: { milliseconds, late: () => late } }, (giveUp) =>
        connect(destination, { signal: giveUp }),
      );
      const connection = new StreamConnection(stream, observer);
      if (signal.aborted) connection.close();
      return connection;
    } catch (cause) {
      if (cause === late) throw late;
      throw upstreamError('unreachable', reasonOf(cause), cause);
    }
  }
}
