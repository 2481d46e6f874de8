/**
 * When the server is asked for answers that fill a segment, so that what it holds back goes out
 * with them.
 *
 * OpenSSH's sshd up to 10.0 leaves Nagle's algorithm on (RFC 896) until a command has run on a
 * session channel, and this program never opens one. What sshd says that is smaller than a segment
 * then waits until the small segment before it has been acknowledged: up to a round trip. So an
 * upload gets its window back a round trip late and runs at half the rate, and a small answer that
 * shares the connection with window adjustments takes two round trips instead of one. But Nagle's
 * algorithm never holds a full segment: answers that fill one, asked for now and then, take the
 * rest along.
 *
 *   data go up ─► a step of them ─► ask ─► a segment's worth of answers, and what waited with them
 *
 * | nothing is asked when                           | because                                     |
 * |-------------------------------------------------|---------------------------------------------|
 * | the server is no OpenSSH, or a later one        | Nagle's algorithm is off there              |
 * | it has answered nothing yet                     | it may ignore what it doesn't know          |
 * | MAX_UNANSWERED flushes are not answered         | it has stopped answering                    |
 * | the round trip is below LEAST_RTT_MS            | it makes others wait, and uploads no faster |
 * | STEP_BYTES took longer than BULK_MS             | nobody waits for a window at that rate      |
 * | the server has said a segment's worth by itself | that has taken the rest along               |
 * | MOST_IN_A_ROUND_TRIP times in one are used up   | many send: their adjustments go together    |
 *
 * Pure: time is passed in, in milliseconds of a monotonic clock.
 */

/** A full segment on Ethernet, without TCP's options: those that are sent are no larger. */
export const SEGMENT_BYTES = 1460;
/**
 * sshd renews a window when 96 KiB of it have been used: each flush carries one or two renewals.
 */
export const STEP_BYTES = 192 * 1024;
/** A little more than one channel with a window of 2 MiB needs. Bursts of so many are admitted. */
export const MOST_IN_A_ROUND_TRIP = 12;
export const LEAST_RTT_MS = 8;
export const BULK_MS = 1_000;
/** Several round trips' worth: answers also wait behind what we send. */
export const MAX_UNANSWERED = 64;
/** The first version that switches Nagle's algorithm off at the beginning of a connection. */
const FIRST_WITHOUT_NAGLE = { major: 10, minor: 1 };

/** `software`: as the server's identification has it (`OpenSSH_9.2p1`). */
export function leavesNagleOn(software: string): boolean {
  const [, major, minor] = /^OpenSSH_(?:for_Windows_)?([0-9]+)\.([0-9]+)/.exec(software) ?? [];
  if (major === undefined || minor === undefined) return false;
  const { major: firstMajor, minor: firstMinor } = FIRST_WITHOUT_NAGLE;
  return Number(major) < firstMajor || (Number(major) === firstMajor && Number(minor) < firstMinor);
}

export class FlushTiming {
  /** The least that was measured; undefined: the server has answered nothing yet. */
  #rtt: number | undefined;
  /** Since `#stepAt`: bytes that were sent, and bytes that came without having been asked for. */
  #sent = 0;
  #said = 0;
  #stepAt = Number.NEGATIVE_INFINITY;
  /** How often the server may be asked now; it grows with time. */
  #allowed = MOST_IN_A_ROUND_TRIP;

  /** The server has answered a global request after so long. */
  roundTrip(milliseconds: number): void {
    this.#rtt = Math.min(milliseconds, this.#rtt ?? Number.POSITIVE_INFINITY);
  }

  /** So many bytes have come, answers included. */
  received(bytes: number): void {
    this.#said += bytes;
  }

  /** So many of the bytes that have come are the answer to a global request or a ping. */
  answered(bytes: number): void {
    this.#said -= bytes;
  }

  /**
   * So many bytes have been sent. `ask`: for a segment, now. `limited`: it would be time, but
   * `unanswered` flushes are too many.
   */
  sent(bytes: number, now: number, unanswered: number): 'ask' | 'limited' | undefined {
    const rtt = this.#rtt;
    if (rtt === undefined || rtt < LEAST_RTT_MS) return undefined;
    this.#sent += bytes;
    if (this.#sent < STEP_BYTES) return undefined;
    const duration = now - this.#stepAt;
    const enough = this.#said >= SEGMENT_BYTES;
    this.#stepAt = now;
    // Writes are no fraction of a step: what is beyond it counts for the next one.
    this.#sent %= STEP_BYTES;
    this.#said = 0;
    const gained = (duration / rtt) * MOST_IN_A_ROUND_TRIP;
    this.#allowed = Math.min(MOST_IN_A_ROUND_TRIP, this.#allowed + gained);
    if (duration > BULK_MS || enough || this.#allowed < 1) return undefined;
    if (unanswered >= MAX_UNANSWERED) return 'limited';
    this.#allowed--;
    return 'ask';
  }
}
