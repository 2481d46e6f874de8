/**
 * Until when an application is taken to be waiting in its connect(). A kernel that closes a socket
 * in SYN-SENT sends nothing, so one that has given up is known by the end of its SYNs: none for
 * SYN_SILENCE_MS, and for SYN_SILENCE_GAPS times the longest gap between them.
 *
 * A living connect() is never given up by this: retransmissions come after 1 s (3 s with RFC 2988's
 * timer), and each gap is as long as the one before or double, until TCP_RTO_MAX bounds it; 3 > 2,
 * and 4 s > 3 s. The longest gap counts, not the last, so that a duplicated frame doesn't shorten
 * it.
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
  again(now: number): void {
    this.#gap = Math.max(this.#gap, now - this.at);
    this.at = now;
  }

  get until(): number {
    return this.at + Math.max(SYN_SILENCE_MS, SYN_SILENCE_GAPS * this.#gap);
  }
}
