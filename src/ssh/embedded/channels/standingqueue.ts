/**
 * Finds out whether incoming data wait in a queue on their way here, and limits how much may then
 * be under way.
 *
 *   round trip <= allowed                    no limit
 *   two in a row above it, at full rate      a queue: all channels together may have as much under
 *                                            way as arrives in a target round trip
 *   then <= allowed                          a tenth more; <= target: a quarter more, until the
 *                                            limit is so high that it doesn't matter
 *   then above it again                      back to what arrives in a target round trip
 *   STRIKES times, and less arrives          not a queue, the path has become longer: no limit, and
 *                                            the new time is the least round trip from now on
 *   nothing has come for IDLE_MS             no limit: measurements from before a pause don't count
 *                                            after it
 *
 *   target  = the least round trip times 1.5, or plus TARGET_MS, whichever is more
 *   allowed = the least round trip times 2, or plus ALLOWED_MS, whichever is more
 *
 * While TCP finds its rate or recovers from losses, a queue forms in the server's socket and goes
 * away without our help. The rate then grows, or is below what it was, so no limit is set. Times
 * are milliseconds of a monotonic clock, passed in.
 */

/** The least round trip before the first measurement. */
const ASSUMED_MS = 50;
/** On a short path, processes that wait to be scheduled may take this long; that is no queue. */
const TARGET_MS = 20;
const ALLOWED_MS = 40;
/** A rate that has grown by this factor from one round trip to the next is still growing. */
const GROWS = 1.25;
/**
 * A rate below this part of another counts as less. A wrong limit leaves no more than target /
 * allowed of the rate.
 */
const AS_MUCH = 0.8;
const STRIKES = 4;
/** With each round trip the best rate is reduced by this factor. */
const MEMORY = 0.95;
const REGROWTH = 1.25;
/**
 * The limit grows by this even between target and allowed. Otherwise a path that has become a
 * little longer would carry less than it can.
 */
const PROBING = 1.1;
/** A limit above this many times what arrives in a target round trip doesn't matter any more. */
const AMPLE = 4;
const IDLE_MS = 2_000;

/** A limit, and what was measured since it was set. */
interface Episode {
  limit: number;
  /** The best rate since the limit was set, in bytes per millisecond. */
  rate: number;
  /** The round trips in a row that took too long: how many, their best rate, and the least time. */
  strikes: number;
  strikeRate: number;
  strikeLeast: number;
}

const NO_STRIKES = { strikes: 0, strikeRate: 0, strikeLeast: Number.POSITIVE_INFINITY };

export class StandingQueue {
  #least: number | undefined;
  #episode: Episode | undefined;
  /** The rate during the last round trip, if that took too long. */
  #suspect: number | undefined;
  #best = 0;
  /** Bytes since the last round trip was measured or a pause ended. */
  #bytes = 0;
  #since = Number.NEGATIVE_INFINITY;
  #lastAt = Number.NEGATIVE_INFINITY;

  /** Bytes that may be granted to all busy channels together; infinite when there is no queue. */
  get limit(): number {
    return this.#episode?.limit ?? Number.POSITIVE_INFINITY;
  }

  /** A round trip took too long; the next one shows whether there is a queue. */
  get suspected(): boolean {
    return this.#episode === undefined && this.#suspect !== undefined;
  }

  /** The least round trip. */
  get least(): number {
    return this.#least ?? ASSUMED_MS;
  }

  delivered(bytes: number, now: number): void {
    if (now - this.#lastAt > IDLE_MS) {
      this.#forget();
      this.#best = 0;
      this.#since = now;
      this.#bytes = 0;
    }
    this.#lastAt = now;
    this.#bytes += bytes;
  }

  /** A round trip takes no longer than this; other delays may be included. */
  atMost(milliseconds: number): void {
    this.#least = Math.min(milliseconds, this.#least ?? milliseconds);
  }

  /** A round trip was measured, with a question whose answer queued together with the data. */
  roundTrip(milliseconds: number, now: number): void {
    this.atMost(milliseconds);
    const duration = now - this.#since;
    const rate = duration > 0 ? this.#bytes / duration : 0;
    this.#since = now;
    this.#bytes = 0;
    this.#best = Math.max(rate, MEMORY * this.#best);
    const tooLong = milliseconds > Math.max(2 * this.least, this.least + ALLOWED_MS);
    if (this.#episode !== undefined) this.#follow(this.#episode, milliseconds, rate, tooLong);
    else if (!tooLong) this.#suspect = undefined;
    else this.#judge(rate);
  }

  get #target(): number {
    return Math.max(1.5 * this.least, this.least + TARGET_MS);
  }

  #judge(rate: number): void {
    const before = this.#suspect;
    this.#suspect = rate;
    if (before === undefined || rate > GROWS * before || rate < AS_MUCH * this.#best) return;
    const full = Math.max(rate, before);
    this.#episode = { limit: full * this.#target, rate: full, ...NO_STRIKES };
  }

  #follow(episode: Episode, milliseconds: number, rate: number, tooLong: boolean): void {
    episode.rate = Math.max(rate, episode.rate);
    const enough = episode.rate * this.#target;
    if (tooLong) {
      episode.limit = Math.min(episode.limit, enough);
      this.#strike(episode, milliseconds, rate);
      return;
    }
    Object.assign(episode, NO_STRIKES);
    episode.limit *= milliseconds <= this.#target ? REGROWTH : PROBING;
    if (episode.limit > AMPLE * enough) this.#forget();
  }

  #strike(episode: Episode, milliseconds: number, rate: number): void {
    episode.strikes++;
    episode.strikeRate = Math.max(episode.strikeRate, rate);
    episode.strikeLeast = Math.min(episode.strikeLeast, milliseconds);
    if (episode.strikes < STRIKES) return;
    if (episode.strikeRate < AS_MUCH * episode.rate) {
      this.#least = episode.strikeLeast;
      this.#forget();
    }
    Object.assign(episode, NO_STRIKES);
  }

  #forget(): void {
    this.#episode = undefined;
    this.#suspect = undefined;
  }
}
