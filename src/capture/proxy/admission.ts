/**
 * How many clients may be connected to the proxies, and how long each may take to make a request.
 *
 * A client that has not made a whole request is *waiting*. It has NEGOTIATION_TIMEOUT_MS for its
 * first request. Between the requests of a plain HTTP connection, the limit of http.ts applies. One
 * timer serves all clients: it is set for the one that has waited longest, so a client that makes
 * its request at once needs no timer. At the limit, the client that has waited longest is reset to
 * admit the new one. Clients that open many connections and send nothing, or send it byte by byte,
 * therefore keep nobody out. If no client is waiting, the new one is reset.
 *
 * A client on another host may vanish without a word. So the kernel probes those that are silent
 * for CLIENT_KEEPALIVE_MS (clientoptions.ts), and ends the connection of one that doesn't answer.
 */
import type { Socket } from 'node:net';
import { LinkedList, ListEntry } from '../../base/linkedlist.ts';
import { resetStream } from '../../flow/reset.ts';
import type { Observer } from '../../observe/observer.ts';

/** The most client connections. More than MAX_FLOWS, because some wait or are idle. */
const MAX_PROXY_CONNECTIONS = 16_384;
/**
 * Milliseconds from a connection to its first whole request. No client needs this long, even with
 * authentication.
 */
const NEGOTIATION_TIMEOUT_MS = 30_000;

export interface AdmissionOptions {
  readonly observer: Observer;
  /**
   * How many file descriptors this process may have. Half of them are for clients, because a direct
   * flow takes a second one.
   */
  readonly descriptors: number;
  /** Milliseconds; default NEGOTIATION_TIMEOUT_MS. */
  readonly negotiationTimeout?: number;
}

const CLIENT = Symbol('client');
type Admitted = Socket & { [CLIENT]?: Client };

class Client {
  readonly socket: Socket;
  readonly connected = new ListEntry<Client>(this);
  readonly waiting = new ListEntry<Client>(this);
  /** While it waits for its first request: until when, in ms of performance.now(). */
  deadline: number | undefined;

  constructor(socket: Socket, deadline: number) {
    this.socket = socket;
    this.deadline = deadline;
  }
}

export class Admission {
  readonly #observer: Observer;
  readonly #limit: number;
  /** Milliseconds for a first request. */
  readonly timeout: number;
  readonly #clients = new LinkedList<Client>();
  /** In the order in which they began to wait. */
  readonly #waiting = new LinkedList<Client>();
  /** Runs while a client has not made its first request. */
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
   * Returns false if the limit is reached; the socket has then been reset. From now on the socket's
   * errors have a listener, so they don't end the process.
   */
  admit(socket: Socket): boolean {
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // 'close' follows, and the socket's user listens to that.
      if (error.code === 'ETIMEDOUT') this.#observer.count('tunnel_proxy_clients_vanished_total');
    });
    if (this.#closing || !this.#makePlace()) {
      resetStream(socket);
      return false;
    }
    const client = new Client(socket, performance.now() + this.timeout);
    (socket as Admitted)[CLIENT] = client;
    this.#clients.add(client.connected);
    this.#waiting.add(client.waiting);
    this.#timer ??= setTimeout(this.#expire, this.timeout).unref();
    socket.on('close', () => this.#remove(client));
    return true;
  }

  /** A whole request has arrived, or the dialogue has ended without one. */
  busy(socket: Socket): void {
    const client = (socket as Admitted)[CLIENT];
    if (client !== undefined) this.#waiting.delete(client.waiting);
  }

  /** The client's request has been answered, and another may follow. */
  idle(socket: Socket): void {
    const client = (socket as Admitted)[CLIENT];
    if (client === undefined || !client.connected.isListed) return;
    client.deadline = undefined;
    if (!client.waiting.isListed) this.#waiting.add(client.waiting);
  }

  /** Admits no more clients and resets all. Resolves when they are closed. */
  async close(): Promise<void> {
    this.#closing = true;
    await Promise.all(
      this.#clients.values.map(({ socket }) => {
        const closed = new Promise((resolve) => socket.once('close', resolve));
        resetStream(socket);
        return closed;
      }),
    );
  }

  #makePlace(): boolean {
    if (this.#clients.size < this.#limit) return true;
    this.#observer.count('tunnel_proxy_over_limit_total');
    const oldest = this.#waiting.first;
    if (oldest === undefined) {
      this.#observer.log(
        'warning',
        `a proxy client was turned away: ${this.#limit} are already connected`,
      );
      return false;
    }
    // Its 'close' comes later, but its place is free for the new client now.
    this.#remove(oldest);
    resetStream(oldest.socket);
    return true;
  }

  #remove(client: Client): void {
    this.#waiting.delete(client.waiting);
    this.#clients.delete(client.connected);
  }

  readonly #expire = (): void => {
    this.#timer = undefined;
    const now = performance.now();
    for (const client of this.#waiting.values) {
      const { socket, deadline: until } = client;
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
