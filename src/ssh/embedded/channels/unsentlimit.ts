/**
 * How much the kernel holds of what can't be sent yet (TCP_NOTSENT_LOWAT, tcp(7)): as much as the
 * path takes in UNSENT_MS. An interactive flow waits behind all of it, so a slow uplink must hold
 * little; and Linux wakes a writer only when a third of the send buffer is free, so that a fast and
 * long path which holds little is used to two thirds.
 *
 *   bytes written -> the rate of each interval -> the best of the last INTERVALS
 *        -> limit, when it has changed enough
 *
 * The rate of an application that has little to send says nothing of the path: that is why it is
 * the best that counts. An interval in which the kernel took no more does: on a path that has
 * become slow it is as long as what the kernel holds takes to go, and counts for all that have
 * passed, or a large limit would outlast its path by INTERVALS of them. What the kernel takes at
 * once counts as well, but is itself bounded by the limit, so the limit can't feed itself.
 */

const UNSENT_MS = 30;
/**
 * Before anything is known, and for the slowest: less makes more wake-ups, and a packet is 32 KiB.
 */
export const LEAST_UNSENT = 128 * 1024;
/** A send buffer is hardly ever larger. */
export const MOST_UNSENT = 4 * 1024 * 1024;
/** Long enough to hold several wake-ups of the writer at any rate. */
const INTERVAL_MS = 100;
const INTERVALS = 10;
/** Smaller changes aren't worth a system call. */
const WORTHWHILE = 1.25;

export class UnsentLimit {
  readonly #set: (bytes: number) => void;
  readonly #clock: () => number;
  /** Bytes a millisecond, of the last intervals in which there was something to send. */
  #rates: number[] = [];
  #start: number;
  #bytes = 0;
  #held = false;
  #limit = LEAST_UNSENT;

  /**
   * `set` is called at once, and whenever the limit changes. `clock`: milliseconds of a monotonic
   * clock.
   */
  constructor(set: (bytes: number) => void, clock = () => performance.now()) {
    this.#set = set;
    this.#clock = clock;
    this.#start = clock();
    set(this.#limit);
  }

  /** So many bytes have been handed to the kernel. `held`: it has not taken all of them yet. */
  sent(bytes: number, held: boolean): void {
    const most = this.#held ? INTERVALS : 1;
    this.#held = held;
    this.#bytes += bytes;
    const now = this.#clock();
    const duration = now - this.#start;
    if (duration < INTERVAL_MS) return;
    const intervals = Math.min(Math.floor(duration / INTERVAL_MS), most);
    const rates = new Array<number>(intervals).fill(this.#bytes / duration);
    this.#rates = [...this.#rates, ...rates].slice(-INTERVALS);
    this.#start = now;
    this.#bytes = 0;
    this.#adapt(Math.max(...this.#rates) * UNSENT_MS);
  }

  #adapt(wanted: number): void {
    const limit = Math.round(Math.max(LEAST_UNSENT, Math.min(wanted, MOST_UNSENT)));
    if (limit < this.#limit * WORTHWHILE && limit > this.#limit / WORTHWHILE) return;
    this.#limit = limit;
    this.#set(limit);
  }
}
