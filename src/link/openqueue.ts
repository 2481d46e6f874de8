/**
 * Limits how many flows are being opened at a time. It sits between the callers of connect() and
 * the transport that opens the channels.
 *
 *   connect() -> prohibited a moment ago? -> refused at once
 *             -> a place is free          -> the transport; the place is taken until it answers
 *             -> no place is free         -> waits its turn, in order; an aborted one leaves
 *
 * An open that waits for a silent destination costs sshd a descriptor for two minutes or more. And
 * sshd looks up names with getaddrinfo(3), which stalls all channels of the connection: a dead name
 * server stops everybody. So few names are looked up at a time, and few opens at a time ask for the
 * same name. A caller that gives up gets its answer at once, but its place stays taken: the server
 * goes on with the lookup, and a program that tries a dead name every second must not pile up
 * lookups there.
 *
 * A destination that the server has prohibited will be prohibited again, so a program that tries in
 * a loop doesn't make us ask each time.
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
/** How many of these may be by name, and how many of those by the same name. */
export const MAX_OPENS_BY_NAME = 32;
export const MAX_OPENS_OF_A_NAME = 8;
/** Opens that wait for a place. */
export const MAX_WAITING_OPENS = 4096;
/** How long a prohibition by the server is remembered, and for how many destinations. */
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
  /** By destination: until when the prohibition is remembered. */
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
   * Opens a flow in a place that was taken for it; frees the place when the transport has answered.
   * Rejects with the signal's reason as soon as it is aborted; a flow that opens after that is
   * closed.
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
        `${formatDestination(destination)}: ${MAX_WAITING_OPENS} connections are waiting to be opened, which is the limit`,
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
    // One place has become free. The first waiting open that may take it gets it.
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
