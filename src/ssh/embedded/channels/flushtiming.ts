/**
 * When to ask the server for answers that fill a TCP segment, so that it also sends the data that
 * it delays.
 *
 * OpenSSH's sshd up to 10.0 leaves Nagle's algorithm on (RFC 896) until a command has run on a
 * session channel, and this program never opens one. If sshd sends less than a segment, it then
 * waits until the small segment before it has been acknowledged: up to a round trip. So an upload
 * gets its window back a round trip late and runs at half the rate. And a small answer that shares
 * the connection with window adjustments takes two round trips instead of one. But Nagle's
 * algorithm never delays a full segment. So we ask now and then for answers that fill one, and the
 * delayed data go out with them.
 *
 *   data go up ─► STEP_BYTES sent ─► ask ─► a segment's worth of answers, with the delayed data
 *
 * | nothing is asked when                           | because                                     |
 * |-------------------------------------------------|---------------------------------------------|
 * | the server is no OpenSSH, or a later one        | Nagle's algorithm is off there              |
 * | it has answered nothing yet                     | it may ignore what it doesn't know          |
 * | MAX_UNANSWERED flushes are not answered         | it has stopped answering                    |
 * | the round trip is below LEAST_RTT_MS            | it makes others wait, and uploads no faster |
 * | STEP_BYTES took longer than BULK_MS             | nobody waits for a window at that rate      |
 * | the server has sent a segment's worth anyway    | the delayed data went out with it           |
 * | MOST_IN_A_ROUND_TRIP times in one are used up   | many send: their adjustments go together    |
 *
 * No side effects: time is passed in, in milliseconds of a monotonic clock.
 */

/** A full segment on Ethernet, without TCP options. Real segments are no larger. */
export const SEGMENT_BYTES = 1460;
/**
 * sshd renews a window when 96 KiB of it have been used: each flush carries one or two renewals.
 */
export const STEP_BYTES = 192 * 1024;
/**
 * A little more than one channel with a window of 2 MiB needs. So many may also come in one burst.
 */
export const MOST_IN_A_ROUND_TRIP = 12;
export const LEAST_RTT_MS = 8;
export const BULK_MS = 1_000;
/** Enough for several round trips, because answers also wait behind what we send. */
export const MAX_UNANSWERED = 64;
/** The first OpenSSH that switches Nagle's algorithm off when a connection begins. */
const FIRST_WITHOUT_NAGLE = { major: 10, minor: 1 };

/** `software`: from the server's identification (`OpenSSH_9.2p1`). */
export function leavesNagleOn(software: string): boolean {
  const [, major, minor] = /^OpenSSH_(?:for_Windows_)?([0-9]+)\.([0-9]+)/.exec(software) ?? [];
  if (major === undefined || minor === undefined) return false;
  const { major: firstMajor, minor: firstMinor } = FIRST_WITHOUT_NAGLE;
  return Number(major) < firstMajor || (Number(major) === firstMajor && Number(minor) < firstMinor);
}

export class FlushTiming {
  /** The least round trip measured; undefined: the server has answered nothing yet. */
  #rtt: number | undefined;
  /** Since `#stepAt`: bytes sent, and bytes received that we had not asked for. */
  #sent = 0;
  #unasked = 0;
  #stepAt = Number.NEGATIVE_INFINITY;
  /** How often the server may be asked now; it grows with time. */
  #allowed = MOST_IN_A_ROUND_TRIP;

  /** The server answered a global request after this time. */
  roundTrip(milliseconds: number): void {
    this.#rtt = Math.min(milliseconds, this.#rtt ?? Number.POSITIVE_INFINITY);
  }

  /** This many bytes were received, answers included. */
  received(bytes: number): void {
    this.#unasked += bytes;
  }

  /** This many of the received bytes were the answer to a global request or a ping. */
  answered(bytes: number): void {
    this.#unasked -= bytes;
  }

  /**
   * This many bytes were sent. `ask`: ask for a segment now. `limited`: it would be time to ask,
   * but `unanswered` flushes are too many.
   */
  sent(bytes: number, now: number, unanswered: number): 'ask' | 'limited' | undefined {
    const rtt = this.#rtt;
    if (rtt === undefined || rtt < LEAST_RTT_MS) return undefined;
    this.#sent += bytes;
    if (this.#sent < STEP_BYTES) return undefined;
    const duration = now - this.#stepAt;
    const enough = this.#unasked >= SEGMENT_BYTES;
    this.#stepAt = now;
    // A write may be more than the rest of a step: the excess counts for the next step.
    this.#sent %= STEP_BYTES;
    this.#unasked = 0;
    const gained = (duration / rtt) * MOST_IN_A_ROUND_TRIP;
    this.#allowed = Math.min(MOST_IN_A_ROUND_TRIP, this.#allowed + gained);
    if (duration > BULK_MS || enough || this.#allowed < 1) return undefined;
    if (unanswered >= MAX_UNANSWERED) return 'limited';
    this.#allowed--;
    return 'ask';
  }
}
