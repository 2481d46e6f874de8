/**
 * Whether the server is still there, and how long it takes to answer.
 *
 * Any byte from it is a sign of life. After an interval of silence it is asked for one (a global request that it must
 * answer, RFC 4254 §4, as OpenSSH's keepalive), and again after the next; after `count` intervals without a byte it is
 * given up. While data flow it is asked every MEASURE_MS as well, for the time that an answer takes.
 */
export interface Keepalive {
  /** Seconds of silence after which the server is asked for a sign of life, and between the questions. 0: never. */
  readonly interval: number;
  /** How many intervals of silence in a row there may be: after the last the link is given up. At least 2. */
  readonly count: number;
}

export const KEEPALIVE: Keepalive = { interval: 15, count: 3 };

/** Timers may be early by a part of a millisecond. */
const TIMER_SLACK_MS = 1;
/** The least time between two measurements of the round trip. */
const MEASURE_MS = 250;

export interface PulseOptions {
  readonly keepalive: Keepalive;
  /** Makes the server say something: each call is answered once, in order. */
  readonly ask: () => void;
  /** The server is given up. Called once. */
  readonly lost: () => void;
  /** A round trip was measured, in milliseconds. */
  readonly measured: (milliseconds: number) => void;
}

export class Pulse {
  readonly #options: PulseOptions;
  #timer: NodeJS.Timeout | undefined;
  readonly #probes = new Set<() => void>();
  /** When the questions that wait for an answer were asked. */
  readonly #asked: number[] = [];
  #measured = Number.NEGATIVE_INFINITY;
  /** When something has come last, and how many intervals have passed since. */
  #heardAt: number;
  #silent = 0;

  constructor(options: PulseOptions) {
    this.#options = options;
    this.#heardAt = performance.now();
    this.#wait(options.keepalive.interval * 1000);
    this.#ask(this.#heardAt);
  }

  /** Something has come from the server. */
  heard(): void {
    this.#heardAt = performance.now();
    this.#silent = 0;
    if (this.#probes.size > 0) for (const answered of [...this.#probes]) answered();
  }

  /** Data are flowing: a good time to see how long an answer takes. */
  measure(): void {
    if (this.#asked.length > 0) return;
    const now = performance.now();
    if (now - this.#measured >= MEASURE_MS) this.#ask(now);
  }

  /** The answer to the oldest question. */
  answered(): void {
    const asked = this.#asked.shift();
    if (asked !== undefined) this.#options.measured(performance.now() - asked);
  }

  /** Asks at once. Resolves with whether anything came within `milliseconds`. */
  probe(milliseconds: number): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (alive: boolean): void => {
        clearTimeout(timer);
        this.#probes.delete(answered);
        resolve(alive);
      };
      const answered = (): void => settle(true);
      const timer = setTimeout(() => settle(false), milliseconds);
      this.#probes.add(answered);
      this.#ask(performance.now());
    });
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #wait(milliseconds: number): void {
    if (milliseconds > 0) this.#timer = setTimeout(() => this.#tick(), milliseconds);
  }

  #tick(): void {
    const { interval, count } = this.#options.keepalive;
    const now = performance.now();
    const next = this.#heardAt + (this.#silent + 1) * interval * 1000;
    if (now < next - TIMER_SLACK_MS) {
      this.#wait(next - now);
    } else if (++this.#silent < count) {
      this.#ask(now);
      this.#wait(interval * 1000);
    } else {
      this.stop();
      this.#options.lost();
    }
  }

  #ask(now: number): void {
    this.#measured = now;
    this.#asked.push(now);
    this.#options.ask();
  }
}
