/**
 * A model of the path from the server to here: how fast it delivers and how long a round trip takes when nothing queues.
 * Its product is how much has to be under way to use the path; what is under way beyond it only waits in the server's
 * queue, in front of everything that is asked for later. The model is BBR's (Cardwell et al., "BBR: Congestion-Based Congestion
 * Control", ACM Queue 2016), seen from the receiver, whose means is the window that it grants.
 *
 *   startup   the window doubles each round trip until the rate has not grown for FULL_ROUNDS
 *   cruise    the window is CRUISE_GAIN products: enough for the rate to grow when the path gets faster
 *   probe     every MIN_RTT_LIFETIME_MS without a round trip as short as the least: half a product for a moment, so that
 *             queues drain and the least round trip can be seen
 *
 * Round trips are measured in-band (a global request that the server answers), so they hold what its queue costs. Time is
 * passed in, in milliseconds of a monotonic clock.
 */

/** Paths shorter than this are taken for as long: what is under way must also outlast the scheduling of processes. */
const LEAST_RTT_MS = 5;
/** Before the first measurement. */
const ASSUMED_RTT_MS = 50;
const STARTUP_GAIN = 2;
const CRUISE_GAIN = 1.5;
const PROBE_GAIN = 0.5;
/** A rate that has grown by less than this factor in FULL_ROUNDS rounds is that of the path. */
const GROWTH = 1.25;
const FULL_ROUNDS = 3;
/** The rate is the best of so many rounds. */
const RATE_ROUNDS = 10;
const MIN_RTT_LIFETIME_MS = 10_000;
const PROBE_MS = 200;
/** Without data for so long, the path is found out anew. */
const IDLE_MS = 5_000;

export class PathModel {
  #minRtt: number | undefined;
  #minRttAt = 0;
  #probeUntil = 0;
  #roundStart = 0;
  #roundBytes = 0;
  /** Bytes a millisecond, of the last rounds. */
  #rates: number[] = [];
  #full = 0;
  #fullRounds = 0;

  /** A round trip has been measured. */
  roundTrip(milliseconds: number, now: number): void {
    if (this.#minRtt === undefined || milliseconds <= this.#minRtt || now < this.#probeUntil) {
      const probed = now < this.#probeUntil && this.#minRtt !== undefined && milliseconds > this.#minRtt;
      // In a probe the queue is empty: what is measured then is the path as it is now, and may be longer than it was.
      if (probed) this.#probeUntil = 0;
      this.#minRtt = milliseconds;
      this.#minRttAt = now;
    }
  }

  /** Data have been consumed. True at the end of a round. */
  delivered(bytes: number, now: number): boolean {
    if (now - this.#roundStart > IDLE_MS) {
      this.#rates = [];
      this.#full = 0;
      this.#fullRounds = 0;
      this.#roundStart = now;
      this.#roundBytes = 0;
    }
    this.#roundBytes += bytes;
    const duration = now - this.#roundStart;
    if (duration < this.rtt) return false;
    this.#endRound(this.#roundBytes / duration);
    this.#roundStart = now;
    this.#roundBytes = 0;
    if (this.#minRtt !== undefined && now - this.#minRttAt > MIN_RTT_LIFETIME_MS) {
      this.#minRttAt = now;
      this.#probeUntil = now + Math.max(PROBE_MS, 2 * this.#minRtt);
    }
    return true;
  }

  /** The least round trip, in milliseconds. */
  get rtt(): number {
    return Math.max(this.#minRtt ?? ASSUMED_RTT_MS, LEAST_RTT_MS);
  }

  /** How many bytes should be under way. 0 before anything has been delivered. */
  target(now: number): number {
    let gain = this.#fullRounds < FULL_ROUNDS ? STARTUP_GAIN : CRUISE_GAIN;
    if (now < this.#probeUntil) gain = PROBE_GAIN;
    return gain * Math.max(0, ...this.#rates) * this.rtt;
  }

  #endRound(rate: number): void {
    this.#rates.push(rate);
    if (this.#rates.length > RATE_ROUNDS) this.#rates.shift();
    if (rate >= this.#full * GROWTH) {
      this.#full = rate;
      this.#fullRounds = 0;
    } else if (this.#fullRounds < FULL_ROUNDS) {
      this.#fullRounds++;
    }
  }
}
