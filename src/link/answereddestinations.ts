/**
 * Which destinations have answered lately, and how often. It outlives the link.
 *
 *   opened at once  -> one more answer, and remembered for ANSWERED_MS from now on
 *   silent          -> forgotten, until it opens at once again
 *
 * Only connections that open count: otherwise somebody who asks for closed ports would have all
 * others forgotten. Per host and port, because a host that answers on one port may drop what comes
 * for the next.
 */
import { LruMap } from '../base/lrumap.ts';

/** For how long an answer counts. */
export const ANSWERED_MS = 10 * 60_000;
/** Destinations that are remembered. Beyond it the one is forgotten that answered longest ago. */
export const MAX_ANSWERED = 8192;
/** More answers don't count for more. */
const MOST_ANSWERS = 2048;

interface Answers {
  readonly count: number;
  readonly until: number;
}

export class AnsweredDestinations {
  readonly #answers: LruMap<string, Answers>;

  /** `forgotten`: called when the limit is reached. */
  constructor(forgotten: () => void) {
    this.#answers = new LruMap({ limit: MAX_ANSWERED, evicted: forgotten });
  }

  /** It has opened at once. `now` in milliseconds of a monotonic clock. */
  opened(destination: string, now: number): void {
    const count = Math.min(this.lately(destination, now) + 1, MOST_ANSWERS);
    this.#answers.set(destination, { count, until: now + ANSWERED_MS });
  }

  silent(destination: string): void {
    this.#answers.delete(destination);
  }

  /** How often it has answered without being silent since; 0: not lately. */
  lately(destination: string, now: number): number {
    const known = this.#answers.peek(destination);
    return known !== undefined && known.until > now ? known.count : 0;
  }
}
