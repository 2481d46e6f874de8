/**
 * Requests to reload a run, one after the other.
 *
 *   before serve()    they wait: the tunnel is not ready
 *   while one runs    all that come meanwhile are answered by one more, which begins after it
 */
import type { Configuration } from '../config/configuration.ts';
import type { ReloadAnswer } from '../control/status.ts';

/** Requests to reload one run. The entry makes it, and a session serves it. */
export class Reloads {
  readonly #read: () => Promise<Configuration>;
  readonly #during: <T>(work: () => Promise<T>) => Promise<T>;
  #work: ((read: () => Promise<Configuration>) => Promise<ReloadAnswer>) | undefined;
  #start: () => void = () => {};
  readonly #served: Promise<void>;
  #last: Promise<unknown>;
  /** Waits for its turn. */
  #next: Promise<ReloadAnswer> | undefined;

  /**
   * `read` reads the same command line again, and rejects with TunnelError. `during` runs each
   * reload, and may tell others of it.
   */
  constructor(
    read: () => Promise<Configuration>,
    during: <T>(work: () => Promise<T>) => Promise<T> = (work) => work(),
  ) {
    this.#read = read;
    this.#during = during;
    this.#served = new Promise((resolve) => {
      this.#start = resolve;
    });
    this.#last = this.#served;
  }

  serve(work: (read: () => Promise<Configuration>) => Promise<ReloadAnswer>): void {
    this.#work = work;
    this.#start();
  }

  /** Rejects with TunnelError; then nothing has changed. */
  request(): Promise<ReloadAnswer> {
    this.#next ??= this.#inTurn();
    return this.#next;
  }

  #inTurn(): Promise<ReloadAnswer> {
    const done = this.#last.then(() => {
      this.#next = undefined;
      const work = this.#work;
      if (work === undefined) throw new TypeError('nobody serves it');
      return this.#during(() => work(this.#read));
    });
    this.#last = done.catch(() => {}); // whoever has asked gets the error
    return done;
  }
}
