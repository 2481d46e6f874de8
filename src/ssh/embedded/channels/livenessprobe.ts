/**
 * Whether the server is still there, and how long it takes to answer.
 *
 * Any byte from it is a sign of life. After an interval of silence it is asked for one (a global
 * request that it must answer, RFC 4254 §4, as OpenSSH's keepalive), and again after the next;
 * after `count` intervals without a byte it is given up. While data flow it is asked every
 * MEASURE_MS as well, for the time that an answer takes.
 *
 * Answers have no names: they come in the order of the questions, so both are counted. One question
 * at a time is timed, so a server that never answers costs nothing but the questions of its
 * silence.
 */
export interface Keepalive {
  /**
   * Seconds of silence after which the server is asked for a sign of life, and between the
   * questions. 0: never.
   */
  readonly interval: number;
  /**
   * How many intervals of silence in a row there may be: after the last the link is given up. At
   * least 2.
   */
  readonly count: number;
}

export const KEEPALIVE: Keepalive = { interval: 15, count: 3 };

/** Timers may be early by a part of a millisecond. */
const TIMER_SLACK_MS = 1;
/** The least time between two measurements of the round trip. */
const MEASURE_MS = 250;

export interface LivenessProbeOptions {
  readonly keepalive: Keepalive;
  /** Makes the server say something: each call is answered once, in order. */
  readonly ask: () => void;
  /** The server is given up. Called once. */
  readonly lost: () => void;
  /** A round trip was measured, in milliseconds. */
  readonly measured: (milliseconds: number) => void;
}

export class LivenessProbe {
  readonly #options: LivenessProbeOptions;
  #timer: NodeJS.Timeout | undefined;
  readonly #probes = new Set<(alive: boolean) => void>();
  #asked = 0;
  #answered = 0;
  /** The question whose answer is timed. */
  #timed: { readonly number: number; readonly at: number } | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #stopped = false;
  /** When something has come last, and how many intervals have passed since. */
  #heardAt: number;
  #silent = 0;

  constructor(options: LivenessProbeOptions) {
    this.#options = options;
    this.#heardAt = performance.now();
    this.#wait(options.keepalive.interval * 1000);
    this.#ask();
  }

  /** Something has come from the server. */
  heard(): void {
    this.#heardAt = performance.now();
    this.#silent = 0;
    if (this.#probes.size > 0) this.#settle(true);
  }

  /** Data are flowing: a good time to see how long an answer takes. */
  measure(): void {
    if (this.#timed === undefined && performance.now() - this.#askedAt >= MEASURE_MS) this.#ask();
  }

  /** The answer to the oldest question. One that nothing was asked for is not counted. */
  answered(): void {
    if (this.#answered === this.#asked) return;
    this.#answered++;
    if (this.#timed?.number !== this.#answered) return;
    const { at } = this.#timed;
    this.#timed = undefined;
    this.#options.measured(performance.now() - at);
  }

  /**
   * Asks so many times for the answers' own sake: none of them is timed, and none is a sign of life
   * that is waited for.
   */
  demand(times: number): void {
    for (let time = 0; time < times && !this.#stopped; time++) {
      this.#asked++;
      this.#options.ask();
    }
  }

  /** Questions that have not been answered yet. */
  get unanswered(): number {
    return this.#asked - this.#answered;
  }

  /**
   * Asks at once. Resolves with whether anything came within `milliseconds`; with false when it is
   * stopped.
   */
  probe(milliseconds: number): Promise<boolean> {
    if (this.#stopped) return Promise.resolve(false);
    return new Promise((resolve) => {
      const settle = (alive: boolean): void => {
        clearTimeout(timer);
        this.#probes.delete(settle);
        resolve(alive);
      };
      const timer = setTimeout(() => settle(false), milliseconds);
      this.#probes.add(settle);
      this.#ask();
    });
  }

  /** Nothing is asked any more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#settle(false);
  }

  #settle(alive: boolean): void {
    for (const settle of [...this.#probes]) settle(alive);
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
      this.#ask();
      this.#wait(interval * 1000);
    } else {
      this.stop();
      this.#options.lost();
    }
  }

  #ask(): void {
    if (this.#stopped) return;
    this.#asked++;
    this.#askedAt = performance.now();
    this.#timed ??= { number: this.#asked, at: this.#askedAt };
    this.#options.ask();
  }
}
