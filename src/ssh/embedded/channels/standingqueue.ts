/**
 * Whether data stand in a queue on their way to here, and how much may then be under way.
 *
 *   round trip <= allowed                    no limit
 *   two in a row above it, at full rate      a queue: as much as comes in a target round trip may
 *                                            be under way, for all channels together
 *   then <= allowed                          a tenth more; <= target: a quarter more, until the
 *                                            limit is of no consequence
 *   then above it again                      back to what comes in a target round trip
 *   STRIKES times, and less comes            it is no queue, the path has become longer: no limit,
 *                                            and that is the least round trip from now on
 *   nothing has come for IDLE_MS             no limit: what was measured before a pause is not
 *                                            known after it
 *
 *   target = the least round trip and a half, or and TARGET_MS; allowed = twice the least, or and
 *   ALLOWED_MS: whichever is more
 *
 * A queue in the server's socket goes by itself while TCP finds its rate or recovers from losses:
 * then the rate grows, or is below what it was. Times are milliseconds of a monotonic clock, passed
 * in.
 */

/** Before the first measurement. */
const ASSUMED_MS = 50;
/** The scheduling of busy processors takes as long as a short path, and is no queue. */
const TARGET_MS = 20;
const ALLOWED_MS = 40;
/** A rate that has grown by this factor from one round trip to the next is still growing. */
const GROWS = 1.25;
/**
 * Less than this part of a rate is less than it. A wrong limit leaves no more than target /
 * allowed.
 */
const AS_MUCH = 0.8;
const STRIKES = 4;
/** The best rate is forgotten by this factor with each round trip. */
const MEMORY = 0.95;
const REGROWTH = 1.25;
/**
 * Also where nothing is wrong: or a path that has become somewhat longer would be left with less
 * than it carries.
 */
const PROBING = 1.1;
/** Of what comes in a target round trip: a limit that is more is of no consequence. */
const AMPLE = 4;
const IDLE_MS = 2_000;

/** A limit, and how it does. */
interface Episode {
  limit: number;
  /** The best since it stands, bytes a millisecond. */
  rate: number;
  /** Of the round trips in a row that took too long: how many, the best rate and the least time. */
  strikes: number;
  strikeRate: number;
  strikeLeast: number;
}

const NO_STRIKES = { strikes: 0, strikeRate: 0, strikeLeast: Number.POSITIVE_INFINITY };

export class StandingQueue {
  #least: number | undefined;
  #episode: Episode | undefined;
  /** The rate with the last round trip, if that took too long. */
  #suspect: number | undefined;
  #best = 0;
  /** What has come since the last round trip was measured, or a pause ended. */
  #bytes = 0;
  #since = Number.NEGATIVE_INFINITY;
  #lastAt = Number.NEGATIVE_INFINITY;

  /** Bytes that may be granted to all busy channels together; infinite when there is no queue. */
  get limit(): number {
    return this.#episode?.limit ?? Number.POSITIVE_INFINITY;
  }

  /** A round trip has taken too long, and the next one will tell whether it is a queue. */
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

  /** A round trip takes no longer than this, whatever else took time. */
  atMost(milliseconds: number): void {
    this.#least = Math.min(milliseconds, this.#least ?? milliseconds);
  }

  /** So long took the answer to a question that queued up with the data. */
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
