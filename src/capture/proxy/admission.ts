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

const PLACE = Symbol('place');
type Admitted = Socket & { [PLACE]?: Place };

/** What has a place, and can be made to give it back. */
export interface Placed {
  /** Resets the connection. */
  reset(): void;
}

/** A client's place. */
export class Place {
  readonly connected = new ListEntry<Place>(this);
  readonly waiting = new ListEntry<Place>(this);
  client: Placed;
  /** While it waits for its first request: until when, in ms of performance.now(). */
  deadline: number | undefined;

  constructor(client: Placed, deadline: number) {
    this.client = client;
    this.deadline = deadline;
  }
}

export class Admission {
  readonly #observer: Observer;
  readonly #limit: number;
  /** Milliseconds for a first request. */
  readonly timeout: number;
  readonly #clients = new LinkedList<Place>();
  /** In the order in which they began to wait. */
  readonly #waiting = new LinkedList<Place>();
  /** Runs while a client has not made its first request. */
  #timer: NodeJS.Timeout | undefined;
  #closing = false;
  /** Called when the last client has gone, while this closes. */
  #empty: () => void = () => {};

  constructor({
    observer,
    descriptors,
    negotiationTimeout = NEGOTIATION_TIMEOUT_MS,
  }: AdmissionOptions) {
    this.#observer = observer;
    this.timeout = negotiationTimeout;
    this.#limit = Math.max(1, Math.min(MAX_PROXY_CONNECTIONS, Math.floor(descriptors / 2)));
  }

  /** undefined: the limit is reached, and the client must be reset. */
  admit(client: Placed): Place | undefined {
    if (this.#closing || !this.#makePlace()) return undefined;
    const place = new Place(client, performance.now() + this.timeout);
    this.#clients.add(place.connected);
    this.#waiting.add(place.waiting);
    this.#timer ??= setTimeout(this.#expire, this.timeout).unref();
    return place;
  }

  /** The same for a socket of Node's. If there is no place, it has been reset. */
  admitSocket(socket: Socket): Place | undefined {
    const place = this.admit({ reset: () => resetStream(socket) });
    if (place !== undefined) {
      this.adopt(socket, place);
      return place;
    }
    this.#listen(socket);
    resetStream(socket);
    return undefined;
  }

  /**
   * From now on the place is this socket's. The socket's errors have a listener, so they don't end
   * the process.
   */
  adopt(socket: Socket, place: Place): void {
    this.#listen(socket);
    place.client = { reset: () => resetStream(socket) };
    (socket as Admitted)[PLACE] = place;
    socket.on('close', () => this.leave(place));
  }

  /** A whole request has arrived, or the dialogue has ended without one. */
  busy(client: Place | Socket): void {
    const place = client instanceof Place ? client : (client as Admitted)[PLACE];
    if (place !== undefined) this.#waiting.delete(place.waiting);
  }

  /** The client's request has been answered, and another may follow. */
  idle(socket: Socket): void {
    const place = (socket as Admitted)[PLACE];
    if (place === undefined || !place.connected.isListed) return;
    place.deadline = undefined;
    if (!place.waiting.isListed) this.#waiting.add(place.waiting);
  }

  /** The client's connection is closed. */
  leave(place: Place): void {
    this.#waiting.delete(place.waiting);
    this.#clients.delete(place.connected);
    if (this.#closing && this.#clients.size === 0) this.#empty();
  }

  /** A client's connection has failed, with this error of the system. */
  failed(code: string): void {
    if (code === 'ETIMEDOUT') this.#observer.count('tunnel_proxy_clients_vanished_total');
  }

  /** Admits no more clients and resets all. Resolves when they are closed. */
  async close(): Promise<void> {
    this.#closing = true;
    const empty = new Promise<void>((resolve) => {
      this.#empty = resolve;
    });
    const clients = this.#clients.values;
    for (const { client } of clients) client.reset();
    if (this.#clients.size > 0) await empty;
  }

  #listen(socket: Socket): void {
    // 'close' follows, and the socket's user listens to that.
    socket.on('error', ({ code = '' }: NodeJS.ErrnoException) => this.failed(code));
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
    // Its end may come later, but its place is free for the new client now.
    this.leave(oldest);
    oldest.client.reset();
    return true;
  }

  readonly #expire = (): void => {
    this.#timer = undefined;
    const now = performance.now();
    for (const place of this.#waiting.values) {
      const { deadline: until } = place;
      if (until === undefined) continue;
      if (until > now) {
        // Timers count in whole milliseconds.
        this.#timer = setTimeout(this.#expire, Math.ceil(until - now)).unref();
        return;
      }
      this.busy(place);
      this.#observer.count('tunnel_proxy_negotiation_timeouts_total');
      place.client.reset();
    }
  };
}
