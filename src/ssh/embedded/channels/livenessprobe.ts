/**
 * Finds out whether the server is still there, and how long it takes to answer.
 *
 * Any byte from the server is a sign of life. After an interval of silence it is asked for one,
 * with a global request that it must answer (RFC 4254 §4), like OpenSSH's keepalive. It is asked
 * again after each further interval. After `count` intervals without a byte it is given up. While
 * data flow it is also asked every MEASURE_MS, to measure the round trip.
 *
 * Answers carry no number, but they come in the order of the questions, so both are counted. Only
 * one question is timed at a time, so a server that never answers is asked only because of its
 * silence.
 */
export interface Keepalive {
  /**
   * Seconds of silence before the server is asked for a sign of life, and between further
   * questions. 0: never.
   */
  readonly interval: number;
  /** After this many intervals of silence in a row the link is given up. At least 2. */
  readonly count: number;
}

export const KEEPALIVE: Keepalive = { interval: 15, count: 3 };

/** Timers may fire early by a fraction of a millisecond. */
const TIMER_SLACK_MS = 1;
/** The least time between two measurements of the round trip. */
const MEASURE_MS = 250;

export interface LivenessProbeOptions {
  readonly keepalive: Keepalive;
  /** Asks the server something. It answers each call once, in order. */
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
  /** When something was last received, and how many intervals have passed since. */
  #receivedAt: number;
  #silentIntervals = 0;

  constructor(options: LivenessProbeOptions) {
    this.#options = options;
    this.#receivedAt = performance.now();
    this.#wait(options.keepalive.interval * 1000);
    this.#ask();
  }

  /** Something has come from the server. */
  received(): void {
    this.#receivedAt = performance.now();
    this.#silentIntervals = 0;
    if (this.#probes.size > 0) this.#settle(true);
  }

  /** Data are flowing: a good time to see how long an answer takes. */
  measure(): void {
    if (this.#timed === undefined && performance.now() - this.#askedAt >= MEASURE_MS) this.#ask();
  }

  /** The server has answered the oldest question. An answer without a question is ignored. */
  answered(): void {
    if (this.#answered === this.#asked) return;
    this.#answered++;
    if (this.#timed?.number !== this.#answered) return;
    const { at } = this.#timed;
    this.#timed = undefined;
    this.#options.measured(performance.now() - at);
  }

  /**
   * Asks this many times just to get answers: none of them is timed or awaited as a sign of life.
   */
  askUntimed(times: number): void {
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
   * Asks at once. Resolves to whether anything came within `milliseconds`; to false when stopped.
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

  /** From now on nothing is asked. */
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
    const next = this.#receivedAt + (this.#silentIntervals + 1) * interval * 1000;
    if (now < next - TIMER_SLACK_MS) {
      this.#wait(next - now);
    } else if (++this.#silentIntervals < count) {
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
