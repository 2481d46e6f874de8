/**
 * When a flow on which nothing is said is probed (RFC 9293 §3.8.4). Stateful firewalls of this
 * machine forget it otherwise, and then drop what the far side says at last: the kernel's
 * connection tracking keeps one that is half closed for 60 s
 * (nf_conntrack_tcp_timeout_close_wait), and others for days, unless it is told to keep them for
 * minutes. Times are milliseconds of a monotonic clock, passed in.
 */
export const HALF_CLOSED_KEEPALIVE_MS = 25_000;
export const KEEPALIVE_MS = 300_000;
/** As Linux has it (tcp_keepalive_probes), this far apart. */
export const KEEPALIVE_PROBES = 9;
export const PROBE_MS = 25_000;
/** Probes of many flows are sent together. */
const STEP_MS = 5_000;

export class Keepalive {
  #heardAt = 0;
  #unanswered = 0;

  /** The application has said something. */
  heard(now: number): void {
    this.#heardAt = now;
    this.#unanswered = 0;
  }

  /**
   * Its timer. `probe` is called if it is time. Returns when to look again; undefined: the
   * application doesn't answer any more.
   */
  due(now: number, halfClosed: boolean, probe: () => void): number | undefined {
    let next = this.#heardAt + (halfClosed ? HALF_CLOSED_KEEPALIVE_MS : KEEPALIVE_MS);
    if (next <= now) {
      if (this.#unanswered === KEEPALIVE_PROBES) return undefined;
      this.#unanswered++;
      probe();
      next = now + PROBE_MS;
    }
    return Math.ceil(next / STEP_MS) * STEP_MS;
  }
}
