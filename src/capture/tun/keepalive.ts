/**
 * When to probe a silent flow (RFC 9293 §3.8.4). Without probes, a stateful firewall on this
 * machine forgets the flow, and drops what the far side finally sends. The kernel's connection
 * tracking keeps a half-closed connection for 60 s (nf_conntrack_tcp_timeout_close_wait) and others
 * for days, but it may be set to minutes. Times are milliseconds of a monotonic clock, passed in.
 */
export const HALF_CLOSED_KEEPALIVE_MS = 25_000;
export const KEEPALIVE_MS = 300_000;
/** As in Linux (tcp_keepalive_probes), PROBE_MS apart. */
export const KEEPALIVE_PROBES = 9;
export const PROBE_MS = 25_000;
/** Probe times are rounded up to this, so probes of many flows are sent together. */
const STEP_MS = 5_000;

export class Keepalive {
  #receivedAt = 0;
  #unanswered = 0;

  /** The application has sent a segment. */
  received(now: number): void {
    this.#receivedAt = now;
    this.#unanswered = 0;
  }

  /**
   * The timer has fired: calls `probe` if it is time. Returns when to call again, or undefined if
   * the application no longer answers.
   */
  timerFired(now: number, halfClosed: boolean, probe: () => void): number | undefined {
    let next = this.#receivedAt + (halfClosed ? HALF_CLOSED_KEEPALIVE_MS : KEEPALIVE_MS);
    if (next <= now) {
      if (this.#unanswered === KEEPALIVE_PROBES) return undefined;
      this.#unanswered++;
      probe();
      next = now + PROBE_MS;
    }
    return Math.ceil(next / STEP_MS) * STEP_MS;
  }
}
