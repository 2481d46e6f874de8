/**
 * Requests to reload a run, one after the other.
 *
 *   before serve()    they wait: the tunnel is not ready
 *   while one runs    all that come meanwhile are answered by one more, which begins after it
 *
 * Whoever asks may lend a terminal for the time that the reload itself takes, not while it waits.
 */
import type { Configuration } from '../config/configuration.ts';
import type { ReloadAnswer } from '../control/status.ts';

type Work = () => Promise<ReloadAnswer>;
/** Runs the reload, and may lend it a terminal meanwhile. */
export type Around = (work: Work) => Promise<ReloadAnswer>;

interface Next {
  readonly answer: Promise<ReloadAnswer>;
  readonly around: Around[];
}

/** Requests to reload one run. The entry makes it, and a session serves it. */
export class Reloads {
  readonly #read: () => Promise<Configuration>;
  readonly #during: <T>(work: () => Promise<T>) => Promise<T>;
  #work: ((read: () => Promise<Configuration>) => Promise<ReloadAnswer>) | undefined;
  #start: () => void = () => {};
  readonly #served: Promise<void>;
  #last: Promise<unknown>;
  /** Waits for its turn. */
  #next: Next | undefined;

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

  /**
   * Rejects with TunnelError; then nothing has changed. Where one reload answers several requests,
   * the `around` of the first one is the outermost.
   */
  request(around?: Around): Promise<ReloadAnswer> {
    this.#next ??= this.#inTurn();
    if (around !== undefined) this.#next.around.push(around);
    return this.#next.answer;
  }

  #inTurn(): Next {
    const around: Around[] = [];
    const done = this.#last.then(() => {
      this.#next = undefined;
      const work = this.#work;
      if (work === undefined) throw new TypeError('nobody serves it');
      const reload = around.reduceRight<Work>(
        (inner, one) => () => one(inner),
        () => work(this.#read),
      );
      return this.#during(reload);
    });
    this.#last = done.catch(() => {}); // whoever has asked gets the error
    return { answer: done, around };
  }
}
