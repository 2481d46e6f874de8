/**
 * How long an application counts as waiting in connect(). A kernel that closes a socket in SYN-SENT
 * sends nothing, so an application that has given up shows only in that its SYNs stop. It counts as
 * gone when no SYN has come for SYN_SILENCE_MS, or for SYN_SILENCE_GAPS times the longest gap
 * between its SYNs if that is longer.
 *
 * This never cuts off a live connect(). The first retransmission comes after 1 s (3 s with RFC
 * 2988's timer). Each gap is as long as the one before or twice as long, up to TCP_RTO_MAX. 3 > 2,
 * and 4 s > 3 s. The longest gap counts, not the last, because a duplicated frame must not shorten
 * the wait.
 */

export const SYN_SILENCE_MS = 4000;
const SYN_SILENCE_GAPS = 3;

export class SynPatience {
  /** When the last SYN came, in milliseconds. */
  at: number;
  #gap = 0;

  constructor(now: number) {
    this.at = now;
  }

  /** The SYN has come again. */
  synAgain(now: number): void {
    this.#gap = Math.max(this.#gap, now - this.at);
    this.at = now;
  }

  get until(): number {
    return this.at + Math.max(SYN_SILENCE_MS, SYN_SILENCE_GAPS * this.#gap);
  }
}
