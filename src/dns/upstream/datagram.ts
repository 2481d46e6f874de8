/**
 * Asks this machine's own resolvers directly: by UDP, and by TCP if an answer says that it was
 * truncated (RFC 7766 §5).
 *
 * Anybody can send forged datagrams. So each query has its own socket, connected to the server,
 * with a random port (RFC 5452 §9.2) and a random id. A datagram that doesn't match the port, the
 * id and the question is dropped and counted, and the wait goes on.
 *
 *   resolve() -> each server in turn, ROUNDS times
 *        -> the first answer that isn't SERVFAIL, REFUSED or the like
 *
 * Limits: MAX_SOCKETS queries at a time; any more are refused at once and counted.
 */
import { randomInt } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { GiveUpSignal } from '../../base/giveup.ts';
import { within } from '../../base/within.ts';
import { reasonOf } from '../../errors/reason.ts';
import { type Destination, formatDestination } from '../../net/destination.ts';
import type { Observer } from '../../observe/observer.ts';
import { composeQuery, type UpstreamAnswer } from '../wire/compose.ts';
import { Flag, readMessage, viewOf } from '../wire/message.ts';
import type { Question } from '../wire/query.ts';
import type { Received } from './connection.ts';
import {
  answersQuestion,
  isUnhelpful,
  type Resolver,
  rejectsEdns,
  takeAnswer,
  upstreamError,
} from './resolver.ts';

export const MAX_SOCKETS = 512;
const ROUNDS = 2;
/** For the first round; the second waits twice as long. */
const DATAGRAM_TIMEOUT_MS = 1_500;

export interface DatagramUpstreamOptions {
  /** At least one. */
  readonly servers: readonly Destination[];
  /** The resolver that repeats a question by TCP when this server's answer was truncated. */
  readonly overStream: (server: Destination) => Resolver;
  readonly observer: Observer;
  /**
   * Makes a socket for queries to this server. If the routes would lead into the tunnel, it must be
   * bound to a device (`socketOf`).
   */
  readonly socketFor?: (server: Destination) => Socket;
  readonly timeoutMs?: number;
}

export class DatagramUpstream implements Resolver {
  readonly #options: DatagramUpstreamOptions;
  readonly #streams: readonly Resolver[];
  readonly #closing = new AbortController();
  #sockets = 0;

  constructor(options: DatagramUpstreamOptions) {
    this.#options = options;
    this.#streams = options.servers.map((server) => options.overStream(server));
  }

  async resolve(question: Question): Promise<UpstreamAnswer> {
    const { servers, observer, timeoutMs = DATAGRAM_TIMEOUT_MS } = this.#options;
    if (this.#sockets >= MAX_SOCKETS) {
      observer.count('tunnel_dns_upstream_over_limit_total');
      throw upstreamError('busy', `${MAX_SOCKETS} queries are on their way already`);
    }
    observer.count('tunnel_dns_local_queries_total');
    this.#sockets += 1;
    try {
      let unhelpful: UpstreamAnswer | undefined;
      let failure: unknown = upstreamError('timeout', 'no resolver answered in time');
      for (let round = 0; round < ROUNDS; round++) {
        for (const [index, server] of servers.entries()) {
          try {
            const answer = await this.#ask(server, index, question, timeoutMs * 2 ** round);
            if (!isUnhelpful(answer.rcode)) return answer;
            unhelpful ??= answer;
          } catch (error) {
            if (this.#closing.signal.aborted) throw error;
            failure = error;
          }
        }
        if (unhelpful !== undefined) return unhelpful;
      }
      throw failure;
    } finally {
      this.#sockets -= 1;
    }
  }

  close(): void {
    this.#closing.abort(upstreamError('closed', 'the resolvers are not asked any more'));
    for (const stream of this.#streams) stream.close();
  }

  async #ask(
    server: Destination,
    index: number,
    question: Question,
    timeoutMs: number,
  ): Promise<UpstreamAnswer> {
    let received = await this.#exchange(server, question, timeoutMs, true);
    if (rejectsEdns(received.view))
      received = await this.#exchange(server, question, timeoutMs, false);
    const stream = this.#streams[index];
    if ((received.view.flags & Flag.TC) !== 0 && stream !== undefined)
      return stream.resolve(question);
    return takeAnswer(received.bytes, received.view);
  }

  #exchange(
    server: Destination,
    question: Question,
    timeoutMs: number,
    edns: boolean,
  ): Promise<Received> {
    const { socketFor = defaultSocket } = this.#options;
    const query = composeQuery(question, { edns });
    const id = randomInt(0x1_0000);
    viewOf(query).setUint16(0, id);
    const late = () =>
      upstreamError('timeout', `${formatDestination(server)} did not answer in time`);
    const { signal } = this.#closing;
    return within({ signal, time: { milliseconds: timeoutMs, late } }, async (giveUp) => {
      let socket: Socket | undefined;
      try {
        socket = socketFor(server);
        const answered = this.#awaitAnswer(socket, id, question, giveUp);
        socket.connect(server.port, server.host);
        await Promise.race([once(socket, 'connect'), answered]);
        socket.send(query);
        return await answered;
      } catch (cause) {
        throw upstreamError('unreachable', reasonOf(cause), cause);
      } finally {
        socket?.close();
      }
    });
  }

  #awaitAnswer(
    socket: Socket,
    id: number,
    question: Question,
    signal: GiveUpSignal,
  ): Promise<Received> {
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      // Includes ECONNREFUSED, which a connected socket reports for the server's "port
      // unreachable".
      socket.on('error', reject);
      socket.on('message', (bytes) => {
        try {
          const view = readMessage(bytes);
          if (view.id === id && answersQuestion(bytes, view, question))
            return resolve({ bytes, view });
        } catch {
          // Malformed. Anybody may have sent it, so the wait goes on, as after any other wrong
          // answer.
        }
        this.#options.observer.count('tunnel_dns_bad_answers_total');
      });
    });
  }
}

function defaultSocket({ host }: Destination): Socket {
  return createSocket(host.includes(':') ? 'udp6' : 'udp4');
}

/**
 * A socket for queries from a descriptor that is bound to a device (native/addon.ts,
 * datagramSocketOnDevice), which it takes over. Undefined: an unbound socket; the routes decide.
 */
export function socketOf(fd: number | undefined, server: Destination): Socket {
  const socket = defaultSocket(server);
  return fd === undefined ? socket : socket.bind({ fd });
}
