/**
 * Finds out whether the server is still there, and how long it takes to answer.
 *
 * Any byte from the server is a sign of life. After an interval of silence it is asked for one,
 * with a global request that it must answer (RFC 4254 §4), like OpenSSH's keepalive. It is asked
 * again after each further interval. While data flow it is also asked every MEASURE_MS, to measure
 * the round trip, and SETTLED_MS after the link has come up: the answer to the first question is
 * read by a program that is busy with its start. What `count` intervals without a byte mean depends
 * on the server:
 *
 *   has answered a request, now or in an earlier link    it is given up
 *   has never answered one, but its software always does it is given up, and doubted from then on
 *   has never answered one                               its silence says nothing; TCP judges
 *
 * TCP judges by what is sent in each interval: if nothing of it is acknowledged, the kernel ends
 * the connection (setUserTimeout of ssh/dial/tcpoptions.ts). Where TCP can't be seen, behind a
 * ProxyCommand or another hop, such a server is not given up. It gets at most
 * MAX_UNANSWERED_REQUESTS requests, and then messages that need no answer.
 *
 * Answers carry no number, but they come in the order of the questions, so both are counted. Only
 * one question is timed at a time, so a server that never answers is asked only because of its
 * silence.
 */
import { MAX_UNANSWERED_REQUESTS, mustAnswer, type ServerAnswers } from '../../answers.ts';

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
/** After the link has come up: when the start is over, and once more where that takes longer. */
const SETTLED_MS: readonly number[] = [1_000, 3_000];
/** How often a round counts as over while data flow and no round trip can be measured. */
const UNMEASURED_ROUND_MS = 1_000;

export interface LivenessProbeOptions {
  readonly keepalive: Keepalive;
  /** What is known about the server. `seen` and `doubted` are set here. */
  readonly answers: ServerAnswers;
  /** knownToAnswer() of the server's software. */
  readonly expected: boolean;
  /** Asks the server something. It answers each call once, in order. */
  readonly ask: () => void;
  /** It has left MAX_UNANSWERED_REQUESTS unanswered, and gets no more. Called once. */
  readonly limited: () => void;
  /** Sends something that the server ignores, but that its kernel must acknowledge. */
  readonly nudge: () => void;
  /** Bytes that the server's kernel has acknowledged; undefined: that can't be seen. */
  readonly acknowledged: () => number | undefined;
  /** `count` intervals have passed, and the server has never answered. Called once. */
  readonly unanswering: () => void;
  /** The server is given up. Called once. */
  readonly lost: () => void;
  /** A round trip was measured, in milliseconds. */
  readonly measured: (milliseconds: number) => void;
  /** Data have been flowing for a while, and the server has answered nothing in this link. */
  readonly unmeasured: () => void;
}

export class LivenessProbe {
  readonly #options: LivenessProbeOptions;
  #timer: NodeJS.Timeout | undefined;
  readonly #settled: readonly NodeJS.Timeout[];
  readonly #probes = new Set<(alive: boolean) => void>();
  #asked = 0;
  #answered = 0;
  /** The question whose answer is timed. */
  #timed: { readonly number: number; readonly at: number } | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  /** When `unmeasured` was last called, or the link came up. */
  #roundAt: number;
  #unanswering = false;
  #limited = false;
  #stopped = false;
  /** When something was last received, and how many intervals have passed since. */
  #receivedAt: number;
  #silentIntervals = 0;

  constructor(options: LivenessProbeOptions) {
    this.#options = options;
    this.#receivedAt = performance.now();
    this.#roundAt = this.#receivedAt;
    this.#wait(options.keepalive.interval * 1000);
    this.#ask();
    // A server that has answered nothing yet is asked only because of its silence.
    this.#settled = SETTLED_MS.map((ms) =>
      setTimeout(() => {
        if (this.#answered > 0) this.measure();
      }, ms),
    );
  }

  /** Something has come from the server. */
  received(): void {
    this.#receivedAt = performance.now();
    this.#silentIntervals = 0;
    if (this.#probes.size > 0) this.#settle(true);
  }

  /** Data are flowing: a good time to see how long an answer takes. */
  measure(): void {
    const now = performance.now();
    if (this.#timed === undefined) {
      if (now - this.#askedAt >= MEASURE_MS) this.#ask();
    } else if (this.#answered === 0 && now - this.#roundAt >= UNMEASURED_ROUND_MS) {
      this.#roundAt = now;
      this.#options.unmeasured();
    }
  }

  /** The server has answered the oldest question. An answer without a question is ignored. */
  answered(): void {
    if (this.#answered === this.#asked) return;
    this.#answered++;
    this.#options.answers.seen = true;
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
   * Asks at once. Resolves to whether anything came within `milliseconds`. For a server that has
   * never answered, an acknowledgement by its kernel is enough; where that can't be seen, its
   * silence says nothing and counts as a yes. Resolves to false when stopped.
   */
  probe(milliseconds: number): Promise<boolean> {
    if (this.#stopped) return Promise.resolve(false);
    const { acknowledged } = this.#options;
    const before = acknowledged();
    const silenceMayBeLife = (): boolean => {
      if (this.#mustAnswer) {
        this.#doubt();
        return false;
      }
      const now = acknowledged();
      return before === undefined || now === undefined || now > before;
    };
    return new Promise((resolve) => {
      const settle = (alive: boolean): void => {
        clearTimeout(timer);
        this.#probes.delete(settle);
        resolve(alive);
      };
      const timer = setTimeout(() => settle(silenceMayBeLife()), milliseconds);
      this.#probes.add(settle);
      this.#prompt();
    });
  }

  /** From now on nothing is asked. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    for (const timer of this.#settled) clearTimeout(timer);
    this.#settle(false);
  }

  #settle(alive: boolean): void {
    for (const settle of [...this.#probes]) settle(alive);
  }

  #wait(milliseconds: number): void {
    if (milliseconds > 0) this.#timer = setTimeout(() => this.#tick(), milliseconds);
  }

  #tick(): void {
    const { keepalive } = this.#options;
    const { interval, count } = keepalive;
    const now = performance.now();
    const next = this.#receivedAt + (this.#silentIntervals + 1) * interval * 1000;
    if (now < next - TIMER_SLACK_MS) {
      this.#wait(next - now);
      return;
    }
    if (++this.#silentIntervals >= count) {
      if (this.#mustAnswer) {
        this.#doubt();
        this.stop();
        this.#options.lost();
        return;
      }
      if (!this.#unanswering) this.#options.unanswering();
      this.#unanswering = true;
    }
    this.#prompt();
    this.#wait(interval * 1000);
  }

  get #mustAnswer(): boolean {
    return mustAnswer(this.#options.answers, this.#options.expected);
  }

  /** The server is given up: if it has never answered, it may only look like software that does. */
  #doubt(): void {
    const { answers } = this.#options;
    answers.doubted ||= !answers.seen;
  }

  /** Makes the server, or at least its kernel, answer. */
  #prompt(): void {
    const { answers, nudge, limited } = this.#options;
    if (answers.seen || this.unanswered < MAX_UNANSWERED_REQUESTS) {
      this.#ask();
      return;
    }
    if (this.#stopped) return;
    if (!this.#limited) limited();
    this.#limited = true;
    nudge();
  }

  #ask(): void {
    if (this.#stopped) return;
    this.#asked++;
    this.#askedAt = performance.now();
    this.#timed ??= { number: this.#asked, at: this.#askedAt };
    this.#options.ask();
  }
}
