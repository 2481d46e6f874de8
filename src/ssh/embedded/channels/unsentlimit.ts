/**
 * Limits how much unsent data the kernel buffers (TCP_NOTSENT_LOWAT, tcp(7)): as much as the path
 * carries in UNSENT_MS. An interactive flow waits behind all of it, so a slow uplink must buffer
 * little. But Linux wakes a writer only when a third of the send buffer is free, so a fast and long
 * path that buffers little is used only to two thirds.
 *
 *   bytes written -> the rate of each interval -> the best of the last INTERVALS
 *        -> limit, when it has changed enough
 *
 * If the application has little to send, the rate says nothing about the path. That is why the best
 * rate counts. But an interval in which the kernel took no more says something: on a path that has
 * become slow, it lasts until the kernel has sent what it buffers. It counts as all the intervals
 * that have passed, or a large limit would be kept for INTERVALS such long intervals. Bytes that
 * the kernel takes at once count too, but the limit bounds them, so the limit can't raise itself.
 */

const UNSENT_MS = 30;
/**
 * At first, and for the slowest paths: a lower limit means more wake-ups, and a packet is 32 KiB.
 */
export const LEAST_UNSENT = 128 * 1024;
/** Send buffers are hardly ever larger. */
export const MOST_UNSENT = 4 * 1024 * 1024;
/** Long enough to contain several wake-ups of the writer at any rate. */
const INTERVAL_MS = 100;
const INTERVALS = 10;
/** Smaller changes aren't worth a system call. */
const WORTHWHILE = 1.25;

export class UnsentLimit {
  readonly #set: (bytes: number) => void;
  readonly #clock: () => number;
  /** Bytes per millisecond in the last intervals in which there was something to send. */
  #rates: number[] = [];
  #start: number;
  #bytes = 0;
  #blocked = false;
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

  /** This many bytes were given to the kernel. `blocked`: it has not taken all of them yet. */
  sent(bytes: number, blocked: boolean): void {
    const most = this.#blocked ? INTERVALS : 1;
    this.#blocked = blocked;
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
