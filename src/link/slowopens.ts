/**
 * Says which connections the jump host takes long to open. A workspace that is started on first use
 * needs a minute or more, and so does sshd with a destination that drops everything; in both cases
 * nothing else shows why a program hangs.
 *
 *   begin() ──► pending ──► end
 *                  │ the oldest is FIRST_REMINDER_MS old
 *                  ▼
 *               one message for all: names the oldest, counts the others; then after ever longer
 *               intervals (base/reminder.ts) while there is a slow one
 *
 * When there has been no slow one for QUIET_MS, it begins with the short interval again. So a
 * program that tries a dead destination for hours makes a message every few minutes, no more.
 */
import { type Clock, type ClockTimer, systemClock } from '../base/clock.ts';
import { FIRST_REMINDER_MS, nextInterval } from '../base/reminder.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';

/** Milliseconds. */
export const QUIET_MS = 60_000;

interface Pending {
  readonly destination: Destination;
  readonly since: number;
  named: boolean;
}

export class SlowOpens {
  readonly #observer: Observer;
  readonly #clock: Clock;
  /** In the order in which they were begun. */
  readonly #pending = new Set<Pending>();
  #timer: ClockTimer | undefined;
  /** The slow time: from its first slow open on. */
  #since = 0;
  /** No message before this. */
  #next = 0;
  /** When there last was a slow one. */
  #lastSlow = Number.NEGATIVE_INFINITY;

  constructor(observer: Observer, clock: Clock = systemClock) {
    this.#observer = observer;
    this.#clock = clock;
  }

  /**
   * The jump host is asked to open something. Call what this returns once, when it has answered
   * (`opened`) or nobody waits any more.
   */
  begin(destination: Destination): (opened: boolean) => void {
    const pending: Pending = { destination, since: this.#clock.now(), named: false };
    this.#pending.add(pending);
    this.#timer ??= this.#clock.after(FIRST_REMINDER_MS, () => this.#look());
    return (opened) => {
      this.#pending.delete(pending);
      const took = this.#clock.now() - pending.since;
      if (took >= FIRST_REMINDER_MS) this.#lastSlow = this.#clock.now();
      if (pending.named && opened)
        this.#observer.log(
          'notice',
          `${formatDestination(destination)} is open, after ${Math.round(took / 1000)} s`,
        );
    };
  }

  #look(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    const [oldest] = this.#pending;
    if (oldest === undefined) return; // the next one starts the timer again
    const age = now - oldest.since;
    if (age < FIRST_REMINDER_MS) {
      this.#lookIn(FIRST_REMINDER_MS - age);
      return;
    }
    if (now - this.#lastSlow > QUIET_MS) {
      this.#since = oldest.since;
      this.#next = now;
    }
    this.#lastSlow = now;
    if (now >= this.#next) {
      this.#tell(oldest, age);
      this.#next = now + nextInterval(now - this.#since);
    }
    // Every few seconds, so that #lastSlow is right.
    this.#lookIn(Math.min(FIRST_REMINDER_MS, this.#next - now));
  }

  #lookIn(milliseconds: number): void {
    this.#timer = this.#clock.after(milliseconds, () => this.#look());
  }

  #tell(oldest: Pending, age: number): void {
    oldest.named = true;
    const now = this.#clock.now();
    const slow = [...this.#pending].filter(({ since }) => now - since >= FIRST_REMINDER_MS);
    const others = slow.length - 1;
    const and = others === 0 ? '' : ` and ${others} other connection${others === 1 ? '' : 's'}`;
    this.#observer.log(
      'notice',
      `waiting for the jump host to open ${formatDestination(oldest.destination)}${and} (${Math.round(age / 1000)} s so far)`,
    );
  }
}
