/**
 * How many flows are being opened at a time: between those who ask for them and the transport that
 * opens them.
 *
 *   connect() -> prohibited a moment ago? -> refused at once
 *             -> a place is free          -> the transport; the place is taken until it has
 *                                         answered
 *             -> none is                  -> waits its turn, in order; an aborted one leaves
 *
 * An open that waits for a silent destination costs sshd a descriptor for two minutes and more, and
 * sshd looks names up with a getaddrinfo(3) that stalls all channels of the connection: a dead name
 * server holds up everybody. So few names are looked up at a time, and each of them by few at a
 * time. Whoever gives up is told so at once, but keeps the place: the server goes on with what it
 * was asked for, and a program that tries a dead name every second must not pile its lookups up
 * there.
 *
 * What the server has prohibited it prohibits again, and a program that tries in a loop need not
 * ask it each time.
 */
import { isIP } from 'node:net';
import type { GiveUpSignal } from '../base/giveup.ts';
import { LruMap } from '../base/lrumap.ts';
import type { Conduit } from '../flow/conduit.ts';
import { BusyError, ConnectError, type ConnectOptions, type Connector } from '../flow/connector.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';

/** Opens that the transport is asked for at a time. */
export const MAX_OPENS = 2048;
/** Of these, by name; and by one and the same name. */
export const MAX_OPENS_BY_NAME = 32;
export const MAX_OPENS_OF_A_NAME = 8;
/** Opens that wait for a place. */
export const MAX_WAITING_OPENS = 4096;
/**
 * How long the server's word that it doesn't permit a destination is taken for its answer, and for
 * how many.
 */
export const PROHIBITED_MS = 5_000;
export const MAX_PROHIBITED = 1024;

interface Waiting {
  readonly name: string | undefined;
  readonly start: () => void;
}

export interface OpenQueueOptions {
  readonly connector: Connector;
  readonly observer: Observer;
  /** Milliseconds of a monotonic clock. */
  readonly clock?: () => number;
}

export class OpenQueue implements Connector {
  readonly #connector: Connector;
  readonly #observer: Observer;
  readonly #clock: () => number;
  readonly #waiting = new Set<Waiting>();
  /** Opens under way, by name. */
  readonly #names = new Map<string, number>();
  #opening = 0;
  #byName = 0;
  /** Until when, by destination. */
  readonly #prohibited: LruMap<string, { readonly until: number; readonly error: ConnectError }>;

  constructor(options: OpenQueueOptions) {
    this.#connector = options.connector;
    this.#observer = options.observer;
    this.#clock = options.clock ?? (() => performance.now());
    this.#prohibited = new LruMap({
      limit: MAX_PROHIBITED,
      evicted: () => this.#observer.count('tunnel_opens_prohibited_forgotten_total'),
    });
  }

  connect(destination: Destination, options: ConnectOptions = {}): Promise<Conduit> {
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(signal.reason);
    const prohibited = this.#prohibited.peek(formatDestination(destination));
    if (prohibited !== undefined && prohibited.until > this.#clock()) {
      this.#observer.count('tunnel_opens_known_prohibited_total');
      return Promise.reject(prohibited.error);
    }
    const name = isIP(destination.host) === 0 ? destination.host : undefined;
    if (!this.#free(name))
      return this.#turn(name, destination, signal).then(() =>
        this.#open(name, destination, options),
      );
    this.#begin(name);
    return this.#open(name, destination, options);
  }

  /**
   * With a place, which is free again when the transport has answered. Rejects with the signal's
   * reason as soon as that is aborted; what opens later is closed.
   */
  #open(
    name: string | undefined,
    destination: Destination,
    { signal, ...options }: ConnectOptions,
  ): Promise<Conduit> {
    return new Promise((resolve, reject) => {
      // It may have been aborted since its turn came.
      if (signal?.aborted) {
        this.#end(name);
        reject(signal.reason);
        return;
      }
      const abort = (): void => reject(signal?.reason);
      signal?.addEventListener('abort', abort, { once: true });
      this.#connector.connect(destination, options).then(
        (conduit) => {
          signal?.removeEventListener('abort', abort);
          this.#end(name);
          if (signal?.aborted) conduit.abort(undefined);
          else resolve(conduit);
        },
        (error: unknown) => {
          signal?.removeEventListener('abort', abort);
          if (error instanceof ConnectError && error.refusal === 'prohibited')
            this.#prohibited.set(formatDestination(destination), {
              until: this.#clock() + PROHIBITED_MS,
              error,
            });
          this.#end(name);
          reject(error);
        },
      );
    });
  }

  #free(name: string | undefined): boolean {
    if (this.#opening >= MAX_OPENS) return false;
    if (name === undefined) return true;
    return this.#byName < MAX_OPENS_BY_NAME && (this.#names.get(name) ?? 0) < MAX_OPENS_OF_A_NAME;
  }

  /** Resolves when a place has been taken. */
  async #turn(
    name: string | undefined,
    destination: Destination,
    signal: GiveUpSignal | undefined,
  ): Promise<void> {
    this.#observer.count('tunnel_opens_delayed_total');
    if (this.#waiting.size >= MAX_WAITING_OPENS) {
      this.#observer.count('tunnel_opens_over_limit_total');
      throw new BusyError(
        `${formatDestination(destination)}: ${MAX_WAITING_OPENS} connections wait to be opened, which is the limit`,
        { hint: 'the destinations or the name servers behind the jump host may not answer' },
      );
    }
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => {
        this.#waiting.delete(entry);
        reject(signal?.reason);
      };
      const entry: Waiting = {
        name,
        start: () => {
          signal?.removeEventListener('abort', abort);
          resolve();
        },
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.add(entry);
    });
  }

  #begin(name: string | undefined): void {
    this.#opening++;
    if (name === undefined) return;
    this.#byName++;
    this.#names.set(name, (this.#names.get(name) ?? 0) + 1);
  }

  #end(name: string | undefined): void {
    this.#opening--;
    if (name !== undefined) {
      this.#byName--;
      const left = (this.#names.get(name) ?? 1) - 1;
      if (left === 0) this.#names.delete(name);
      else this.#names.set(name, left);
    }
    // One place has become free; the first that it suits has it.
    for (const entry of this.#waiting) {
      if (!this.#free(entry.name)) continue;
      this.#waiting.delete(entry);
      // Taken at once, so that nobody else comes in between.
      this.#begin(entry.name);
      entry.start();
      return;
    }
  }
}
