/**
 * One stream to a DNS server that carries many queries at a time (RFC 7766 §6.2.1). Each query has
 * its own id, and answers come in any order.
 *
 * What the server sends is not trusted. An answer is dropped and counted if it can't be read, if no
 * query with its id is waiting, or if it answers another question than that query's. After
 * MAX_BAD_ANSWERS the stream is closed. If nothing at all arrives while a query waits for its whole
 * time, the stream is assumed to be dead and is closed too.
 */
import type { Duplex } from 'node:stream';
import type { Observer } from '../../observe/observer.ts';
import { framed, HEADER_SIZE, type MessageView, readMessage, viewOf } from '../wire/message.ts';
import type { Question } from '../wire/query.ts';
import { answersQuestion, upstreamError } from './resolver.ts';

export const MAX_BAD_ANSWERS = 16;
/**
 * A connection is closed after this time without a query. Servers close earlier, and opening
 * another takes only a round trip.
 */
const IDLE_MS = 30_000;
const IDS = 65_536;

/** A checked answer as it arrived. It owns its octets. */
export interface Received {
  readonly bytes: Uint8Array;
  readonly view: MessageView;
}

interface Waiting {
  readonly question: Question;
  readonly sentAt: number;
  readonly timer: NodeJS.Timeout;
  resolve(received: Received): void;
  reject(error: Error): void;
}

export class StreamConnection {
  readonly #stream: Duplex;
  readonly #observer: Observer;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = Math.floor(Math.random() * IDS);
  /** The start of a message whose rest hasn't arrived. */
  #unfinished: Buffer = Buffer.alloc(0);
  #lastReceived = 0;
  #answered = 0;
  #bad = 0;
  #closed: Error | undefined;
  #idle: NodeJS.Timeout | undefined;

  constructor(stream: Duplex, observer: Observer) {
    this.#stream = stream;
    this.#observer = observer;
    stream.on('data', (chunk: Buffer) => this.#data(chunk));
    stream.on('end', () =>
      this.#close(upstreamError('closed', 'the resolver has closed the connection')),
    );
    stream.on('error', (cause: Error) =>
      this.#close(upstreamError('closed', cause.message, cause)),
    );
    stream.on('close', () =>
      this.#close(upstreamError('closed', 'the connection to the resolver has ended')),
    );
    // It may have ended before these listeners were added (Connector.connect).
    if (stream.destroyed)
      this.#close(upstreamError('closed', 'the connection to the resolver has ended'));
    this.#startIdleTimer();
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** How many queries this connection has answered. */
  get answered(): number {
    return this.#answered;
  }

  /**
   * Sends a query (its id is replaced) and waits for its answer. Rejects with TunnelError
   * `dns-closed` or `dns-timeout`.
   */
  query(message: Uint8Array, question: Question, timeoutMs: number): Promise<Received> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== undefined) return reject(this.#closed);
      clearTimeout(this.#idle);
      const id = this.#freeId();
      const sentAt = performance.now();
      const timer = setTimeout(() => this.#timeOut(id), timeoutMs);
      this.#waiting.set(id, { question, sentAt, timer, resolve, reject });
      const bytes = framed(message);
      bytes.writeUInt16BE(id, 2);
      this.#stream.write(bytes);
    });
  }

  close(): void {
    this.#close(upstreamError('closed', 'the connection to the resolver was closed'));
  }

  #freeId(): number {
    // Ends: far fewer queries wait than there are ids (MAX_IN_FLIGHT in stream.ts).
    while (this.#waiting.has(this.#nextId)) this.#nextId = (this.#nextId + 1) % IDS;
    const id = this.#nextId;
    this.#nextId = (id + 1) % IDS;
    return id;
  }

  #data(chunk: Buffer): void {
    this.#lastReceived = performance.now();
    let bytes = this.#unfinished.length === 0 ? chunk : Buffer.concat([this.#unfinished, chunk]);
    while (bytes.length >= 2) {
      const end = 2 + bytes.readUInt16BE(0);
      if (bytes.length < end) break;
      this.#message(new Uint8Array(bytes.subarray(2, end)));
      bytes = bytes.subarray(end);
    }
    this.#unfinished = Buffer.from(bytes);
  }

  #message(bytes: Uint8Array): void {
    const id = bytes.length < HEADER_SIZE ? undefined : viewOf(bytes).getUint16(0);
    const waiting = id === undefined ? undefined : this.#waiting.get(id);
    if (id === undefined || waiting === undefined) {
      this.#badAnswer();
      return;
    }
    let view: MessageView;
    try {
      view = readMessage(bytes);
    } catch (cause) {
      // Its id is that of our query, so a better answer won't come.
      this.#badAnswer();
      this.#settle(id)?.reject(
        upstreamError('malformed', 'the resolver has sent a malformed answer', cause),
      );
      return;
    }
    if (!answersQuestion(bytes, view, waiting.question)) {
      this.#badAnswer();
      return;
    }
    this.#answered += 1;
    this.#settle(id)?.resolve({ bytes, view });
  }

  #badAnswer(): void {
    this.#observer.count('tunnel_dns_bad_answers_total');
    this.#bad += 1;
    if (this.#bad >= MAX_BAD_ANSWERS)
      this.#close(
        upstreamError(
          'malformed',
          `the resolver has sent ${this.#bad} answers that nobody asked for`,
        ),
      );
  }

  #timeOut(id: number): void {
    const waiting = this.#settle(id);
    if (waiting === undefined) return;
    waiting.reject(upstreamError('timeout', 'the resolver did not answer in time'));
    if (this.#lastReceived < waiting.sentAt)
      this.#close(upstreamError('closed', 'the resolver has stopped answering'));
  }

  #settle(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return undefined;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    if (this.#waiting.size === 0) this.#startIdleTimer();
    return waiting;
  }

  #startIdleTimer(): void {
    if (this.#closed !== undefined) return;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.close(), IDLE_MS).unref();
  }

  #close(reason: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    clearTimeout(this.#idle);
    this.#stream.destroy();
    for (const id of [...this.#waiting.keys()]) this.#settle(id)?.reject(reason);
  }
}
