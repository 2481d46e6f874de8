/**
 * Time, as the parts on a connection's way have it: a clock that only goes forward, and timers on
 * it. It stands still while the machine sleeps. Tests have one that they move themselves.
 */
import { MAX_TIMER_MS } from './within.ts';

export interface Clock {
  /** Milliseconds since some moment. */
  now(): number;
  /**
   * Calls `fire` once, at least `milliseconds` from now; at most MAX_TIMER_MS. A timer doesn't keep
   * the process running.
   */
  after(milliseconds: number, fire: () => void): ClockTimer;
}

export interface ClockTimer {
  /** Does nothing once it has fired. May be called more than once. */
  cancel(): void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(milliseconds, fire) {
    const timer = setTimeout(fire, Math.min(milliseconds, MAX_TIMER_MS)).unref();
    return { cancel: () => clearTimeout(timer) };
  },
};
