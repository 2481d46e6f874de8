/**
 * A model of the path from the server to here: how fast it delivers and how long a round trip takes when nothing queues.
 * Its product is how much has to be under way to use the path; what is under way beyond it only waits in the server's
 * queue, in front of everything that is asked for later. The model is BBR's (Cardwell et al., "BBR: Congestion-Based Congestion
 * Control", ACM Queue 2016), seen from the receiver, whose means is the window that it grants.
 *
 *   startup   the window doubles each round trip until the rate has not grown for FULL_ROUNDS
 *   cruise    the window is CRUISE_GAIN products: enough for the rate to grow when the path gets faster
 *   probe     PROBE_GAIN products, and half of that again, until less comes than before: then nothing queues, and what a round
 *             trip takes is the least from now on. When none as short as the least has been seen for MIN_RTT_LIFETIME_MS; and
 *             when for STALE_MS all took more than STALE times the least, for then either the path has
 *             become slower and our window is a queue, or it has become longer and our window is too small. In the
 *             second case startup follows.
 *
 * Round trips are measured in-band (a global request that the server answers), so they hold what its queue costs. A round of
 * the model is as long as the last of them: only then has everything that was granted at its start had time to come. Rounds
 * in which no channel used up its window say nothing about the path, unless they are faster than all. Time is passed
 * in, in milliseconds of a monotonic clock.
 */

/** Paths shorter than this are taken for as long: what is under way must also outlast the scheduling of processes. */
const LEAST_RTT_MS = 5;
/** Before the first measurement. */
const ASSUMED_RTT_MS = 50;
/** 2 / ln 2: what is granted now comes a round trip later, at a rate that has doubled meanwhile (as in BBR). */
const STARTUP_GAIN = 2.89;
const CRUISE_GAIN = 1.5;
const PROBE_GAIN = 0.7;
/** The queue is empty when the rate has fallen below this part of what it was; else the gain is halved, so many times at most. */
const DRAINED = 0.8;
const MAX_HALVINGS = 4;
/** A rate that has grown by less than this factor in FULL_ROUNDS rounds is that of the path. */
const GROWTH = 1.25;
const FULL_ROUNDS = 3;
/** The rate is the best of so many rounds. */
const RATE_ROUNDS = 10;
/** And not less than so many round trips: a probe takes three or four. */
const MIN_RTT_LIFETIME_MS = 10_000;
const MIN_RTT_LIFETIME = 50;
const STALE = 2;
const STALE_MS = 2_000;
/** A probe ends without a result after so many of the last round trips, and not before PROBE_MS: the server may not answer. */
const PROBE_ROUND_TRIPS = 8;
const PROBE_MS = 1_000;
/** A packet is what the path carries in this time, within bounds: larger ones make the others wait, smaller ones cost more. */
const PACKET_MS = 2;
const MIN_PACKET = 4 * 1024;
const MAX_PACKET = 32 * 1024;
/** Beside the product: one is being sent there, and one has been consumed here and is not granted yet. */
const PACKETS = 2;
/** When no channel has used up its window for so long, the path is found out anew. */
const IDLE_MS = 5_000;

interface Probe {
  gain: number;
  /** From when on what comes has been sent with this gain. */
  effective: number;
  halvings: number;
  drained: boolean;
  readonly end: number;
}

export class PathModel {
  #minRtt: number | undefined;
  #minRttAt = 0;
  /** When a round trip was last no more than STALE times the least. */
  #nearAt = 0;
  #lastRtt: number | undefined;
  #probe: Probe | undefined;
  #roundStart = 0;
  #roundBytes = 0;
  #loadedAt = 0;
  /** Bytes a millisecond, of the last rounds. */
  #rates: number[] = [];
  #full = 0;
  #fullRounds = 0;

  /** A round trip has been measured. */
  roundTrip(milliseconds: number, now: number): void {
    this.#lastRtt = milliseconds;
    const before = this.#minRtt;
    const probed = this.#probe?.drained === true && now - milliseconds >= this.#probe.effective;
    if (before === undefined || milliseconds <= before || probed) {
      this.#minRtt = milliseconds;
      this.#minRttAt = now;
      if (probed) this.#probe = undefined;
      if (probed && before !== undefined && milliseconds > STALE * before) this.#restart();
    }
    if (milliseconds <= STALE * this.rtt) this.#nearAt = now;
  }

  /** Data have come; `loaded`: some channel uses up its window. True at the end of a round. */
  delivered(bytes: number, now: number, loaded: boolean): boolean {
    if (loaded) this.#loadedAt = now;
    else if (now - this.#loadedAt > IDLE_MS) this.#forget(now);
    this.#roundBytes += bytes;
    const duration = now - this.#roundStart;
    if (duration < Math.max(this.rtt, this.#lastRtt ?? 0)) return false;
    const rate = this.#roundBytes / duration;
    if (this.#probe !== undefined) this.#drain(this.#probe, rate, now);
    this.#endRound(rate, loaded);
    this.#roundStart = now;
    this.#roundBytes = 0;
    this.#probeIfDue(now);
    return true;
  }

  /** The least round trip, in milliseconds. */
  get rtt(): number {
    return Math.max(this.#minRtt ?? ASSUMED_RTT_MS, LEAST_RTT_MS);
  }

  /** Something is known of what the path can carry: a round has been loaded. */
  get known(): boolean {
    return this.#full > 0;
  }

  /** The least that it makes sense to have under way for a channel, in bytes. */
  get packet(): number {
    if (!this.known) return MAX_PACKET;
    return Math.max(MIN_PACKET, Math.min(this.#rate * PACKET_MS, MAX_PACKET));
  }

  /** How many bytes should be under way. */
  get target(): number {
    let gain = this.#fullRounds < FULL_ROUNDS ? STARTUP_GAIN : CRUISE_GAIN;
    if (this.#probe !== undefined) ({ gain } = this.#probe);
    return gain * this.#rate * this.rtt + PACKETS * this.packet;
  }

  get #rate(): number {
    return Math.max(0, ...this.#rates);
  }

  #endRound(rate: number, loaded: boolean): void {
    if ((!loaded || this.#probe !== undefined) && rate <= this.#rate) return;
    this.#rates.push(rate);
    if (this.#rates.length > RATE_ROUNDS) this.#rates.shift();
    if (!loaded) return;
    if (rate >= this.#full * GROWTH) {
      this.#full = rate;
      this.#fullRounds = 0;
    } else {
      this.#fullRounds++;
    }
  }

  #probeIfDue(now: number): void {
    if (this.#minRtt === undefined || this.#lastRtt === undefined) return;
    if (this.#probe !== undefined) {
      if (now < this.#probe.end) return;
      this.#probe = undefined;
      this.#minRttAt = now;
      this.#nearAt = now;
    } else if (now - this.#nearAt > STALE_MS) {
      // The rate may be as old as the round trip.
      this.#rates = this.#rates.slice(-1);
      this.#startProbe(now, this.#lastRtt);
    } else if (now - this.#minRttAt > Math.max(MIN_RTT_LIFETIME_MS, MIN_RTT_LIFETIME * this.rtt)) {
      this.#startProbe(now, this.#lastRtt);
    }
  }

  #startProbe(now: number, lastRtt: number): void {
    this.#probe = {
      gain: PROBE_GAIN,
      effective: now + lastRtt,
      halvings: 0,
      drained: false,
      end: now + Math.max(PROBE_MS, PROBE_ROUND_TRIPS * lastRtt),
    };
  }

  /** At the end of a round within a probe. */
  #drain(probe: Probe, rate: number, now: number): void {
    if (probe.drained || this.#roundStart < probe.effective) return;
    probe.drained = rate < DRAINED * this.#rate || probe.halvings === MAX_HALVINGS;
    if (probe.drained) return;
    probe.halvings++;
    probe.gain /= 2;
    probe.effective = now + (this.#lastRtt ?? 0);
  }

  /** What was known of the rate is out of date. The least round trip is kept until it is seen to be. */
  #forget(now: number): void {
    this.#restart();
    this.#rates = [];
    this.#probe = undefined;
    this.#roundStart = now;
    this.#roundBytes = 0;
    this.#loadedAt = now;
    this.#minRttAt = now;
    this.#nearAt = now;
  }

  #restart(): void {
    this.#full = 0;
    this.#fullRounds = 0;
  }
}
