/**
 * Calls somebody back while something takes long: after 5 s, and then after ever longer intervals.
 *
 *   0     5 s       15 s                35 s                                    75 s     ...
 *   ├──────┼─────────┼───────────────────┼───────────────────────────────────────┤
 *
 * The last interval is LONGEST_INTERVAL_MS; from then on all are.
 */
import { type Clock, type ClockTimer, systemClock } from './clock.ts';

/** Milliseconds. Nobody wonders about a shorter wait. */
export const FIRST_REMINDER_MS = 5_000;
export const LONGEST_INTERVAL_MS = 5 * 60_000;

/** The interval after a reminder that comes `elapsed` ms after the beginning. */
export function nextInterval(elapsed: number): number {
  return Math.min(LONGEST_INTERVAL_MS, elapsed + FIRST_REMINDER_MS);
}

export class Reminder {
  readonly #remind: (elapsed: number) => void;
  readonly #clock: Clock;
  #since = 0;
  #timer: ClockTimer | undefined;
  #stopped = false;

  /** Begins at once. `remind` gets the milliseconds since the beginning. */
  constructor(remind: (elapsed: number) => void, clock: Clock = systemClock) {
    this.#remind = remind;
    this.#clock = clock;
    this.pause(false);
  }

  /** With false it begins again, from 0. After stop() it does nothing. */
  pause(paused: boolean): void {
    this.#timer?.cancel();
    if (this.#stopped || paused) return;
    this.#since = this.#clock.now();
    this.#schedule(FIRST_REMINDER_MS);
  }

  /** May be called more than once. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #schedule(interval: number): void {
    this.#timer = this.#clock.after(interval, () => {
      const elapsed = this.#clock.now() - this.#since;
      this.#schedule(nextInterval(elapsed));
      this.#remind(elapsed);
    });
  }
}
