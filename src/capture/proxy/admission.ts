/**
 * Who may be connected to the proxies, and for how long without asking for anything.
 *
 * A client that has not made a whole request is *waiting*. It has NEGOTIATION_TIMEOUT_MS for its
 * first request; between the requests of a plain HTTP connection http.ts has a limit of its own.
 * One timer serves them all: it is set for who has waited longest, so that a client that makes its
 * request at once costs none. When the room is taken, the client that has waited longest makes
 * place for the new one, so that many that open connections and say nothing, or say it byte by
 * byte, keep nobody out; if none is waiting, the new one is reset.
 */
import type { Socket } from 'node:net';
import { resetStream } from '../../flow/reset.ts';
import type { Observer } from '../../observe/observer.ts';

/** Connections of clients altogether. Beyond MAX_FLOWS, because some wait or are idle. */
const MAX_PROXY_CONNECTIONS = 16_384;
/**
 * Milliseconds from a connection to its first whole request: more than any client takes,
 * authentication included.
 */
const NEGOTIATION_TIMEOUT_MS = 30_000;

export interface AdmissionOptions {
  readonly observer: Observer;
  /**
   * How many descriptors this process may have. Half of them are for clients: a direct flow takes a
   * second one.
   */
  readonly descriptors: number;
  /** Milliseconds; default NEGOTIATION_TIMEOUT_MS. */
  readonly negotiationTimeout?: number;
}

export class Admission {
  readonly #observer: Observer;
  readonly #limit: number;
  /** Milliseconds for a first request. */
  readonly timeout: number;
  readonly #sockets = new Set<Socket>();
  /**
   * In the order in which they began to wait: until when, in ms of performance.now(), or undefined
   * between requests.
   */
  readonly #waiting = new Map<Socket, number | undefined>();
  /** Runs while somebody has to make a first request. */
  #timer: NodeJS.Timeout | undefined;
  #closing = false;

  constructor({
    observer,
    descriptors,
    negotiationTimeout = NEGOTIATION_TIMEOUT_MS,
  }: AdmissionOptions) {
    this.#observer = observer;
    this.timeout = negotiationTimeout;
    this.#limit = Math.max(1, Math.min(MAX_PROXY_CONNECTIONS, Math.floor(descriptors / 2)));
  }

  /**
   * False: there is no room, and the socket has been reset. From here on its errors are listened
   * to, and end nothing else.
   */
  admit(socket: Socket): boolean {
    socket.on('error', () => {
      // 'close' follows, and whoever uses the socket then listens to that.
    });
    if (this.#closing || !this.#makeRoom()) {
      resetStream(socket);
      return false;
    }
    this.#sockets.add(socket);
    this.#waiting.set(socket, performance.now() + this.timeout);
    this.#timer ??= setTimeout(this.#expire, this.timeout).unref();
    socket.on('close', () => {
      this.busy(socket);
      this.#sockets.delete(socket);
    });
    return true;
  }

  /** A whole request has come, or what came has been answered and is over. */
  busy(socket: Socket): void {
    this.#waiting.delete(socket);
  }

  /** Its request has been answered, and another may come. */
  idle(socket: Socket): void {
    if (this.#sockets.has(socket)) this.#waiting.set(socket, undefined);
  }

  /** Admits nobody any more and resets all; resolves when they are closed. */
  async close(): Promise<void> {
    this.#closing = true;
    await Promise.all(
      [...this.#sockets].map((socket) => {
        const closed = new Promise((resolve) => socket.once('close', resolve));
        resetStream(socket);
        return closed;
      }),
    );
  }

  #makeRoom(): boolean {
    if (this.#sockets.size < this.#limit) return true;
    this.#observer.count('tunnel_proxy_over_limit_total');
    const [oldest] = this.#waiting.keys();
    if (oldest === undefined) {
      this.#observer.log(
        'warning',
        `a proxy client was turned away, ${this.#limit} are connected already`,
      );
      return false;
    }
    // Its 'close' comes later; the room is the new one's now.
    this.busy(oldest);
    this.#sockets.delete(oldest);
    resetStream(oldest);
    return true;
  }

  readonly #expire = (): void => {
    this.#timer = undefined;
    const now = performance.now();
    for (const [socket, until] of this.#waiting) {
      if (until === undefined) continue;
      if (until > now) {
        // Timers count in whole milliseconds.
        this.#timer = setTimeout(this.#expire, Math.ceil(until - now)).unref();
        return;
      }
      this.busy(socket);
      this.#observer.count('tunnel_proxy_negotiation_timeouts_total');
      resetStream(socket);
    }
  };
}
