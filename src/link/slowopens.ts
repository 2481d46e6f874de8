/**
 * Says which connections take long to open, and what they wait for. A workspace that is started on
 * first use needs a minute or more, and so does sshd with a destination that drops everything. Or
 * the jump host hasn't been asked yet, because others hold the places (openqueue.ts). Nothing else
 * shows why a program hangs.
 *
 *   begin() ──► has no place ── sent() ──► asked ──► ended()
 *                    │                       │
 *                    └───────────┬───────────┘
 *                                │ the oldest has been so for FIRST_REMINDER_MS
 *                                ▼
 *               one message for all of its state: names the oldest, counts the others; then after
 *               ever longer intervals (base/reminder.ts) while there is a slow one
 *
 * When there has been no slow one for QUIET_MS, it begins with the short interval again. So a
 * program that tries a dead destination for hours makes a message every few minutes, no more.
 */
import { type Clock, type ClockTimer, systemClock } from '../base/clock.ts';
import { LinkedList, ListEntry } from '../base/linkedlist.ts';
import { FIRST_REMINDER_MS, nextInterval } from '../base/reminder.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';

/** Milliseconds. */
export const QUIET_MS = 60_000;

/** One open, and how far it has got. */
export class OpenProgress {
  readonly destination: Destination;
  /** When it was asked for, and since when it has waited for the same thing: ms of the clock. */
  readonly asked: number;
  since: number;
  /** A message has named it. */
  named = false;
  /** For SlowState. */
  readonly entry = new ListEntry<OpenProgress>(this);
  readonly #opens: SlowOpens;

  constructor(destination: Destination, now: number, opens: SlowOpens) {
    this.destination = destination;
    this.asked = now;
    this.since = now;
    this.#opens = opens;
  }

  /** It has a place, and the jump host is asked. Call it once at the most. */
  sent(): void {
    this.#opens.sent(this);
  }

  /** The jump host has answered (`opened`), or nobody waits any more. Call it once. */
  ended(opened: boolean): void {
    this.#opens.ended(this, opened);
  }
}

export class SlowOpens {
  readonly #observer: Observer;
  readonly #clock: Clock;
  readonly #withoutPlace: SlowState;
  readonly #asked: SlowState;

  constructor(observer: Observer, clock: Clock = systemClock) {
    this.#observer = observer;
    this.#clock = clock;
    const tell = (message: string): void => observer.log('notice', message);
    this.#withoutPlace = new SlowState(clock, (which, seconds) =>
      tell(
        `waiting for a place to open ${which}, before the jump host is asked (${seconds} s so far)`,
      ),
    );
    this.#asked = new SlowState(clock, (which, seconds) =>
      tell(`waiting for the jump host to open ${which} (${seconds} s so far)`),
    );
  }

  /** Somebody wants this to be opened. */
  begin(destination: Destination): OpenProgress {
    const open = new OpenProgress(destination, this.#clock.now(), this);
    this.#withoutPlace.enter(open);
    return open;
  }

  // For OpenProgress.

  sent(open: OpenProgress): void {
    const now = this.#clock.now();
    this.#withoutPlace.leave(open, now);
    open.since = now;
    this.#asked.enter(open);
  }

  ended(open: OpenProgress, opened: boolean): void {
    const now = this.#clock.now();
    if (!this.#asked.leave(open, now)) this.#withoutPlace.leave(open, now);
    if (!open.named || !opened) return;
    const seconds = Math.round((now - open.asked) / 1000);
    this.#observer.log(
      'notice',
      `${formatDestination(open.destination)} is open, after ${seconds} s`,
    );
  }
}

/** Those that wait for the same thing. */
class SlowState {
  readonly #clock: Clock;
  readonly #tell: (which: string, seconds: number) => void;
  /** In the order in which they came. */
  readonly #pending = new LinkedList<OpenProgress>();
  #timer: ClockTimer | undefined;
  /** The slow time: from its first slow open on. */
  #since = 0;
  /** No message before this. */
  #next = 0;
  /** When there last was a slow one. */
  #lastSlow = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, tell: (which: string, seconds: number) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  enter(open: OpenProgress): void {
    this.#pending.add(open.entry);
    this.#timer ??= this.#clock.after(FIRST_REMINDER_MS, () => this.#look());
  }

  /** Returns whether it was here. */
  leave(open: OpenProgress, now: number): boolean {
    if (!this.#pending.delete(open.entry)) return false;
    if (now - open.since >= FIRST_REMINDER_MS) this.#lastSlow = now;
    return true;
  }

  #look(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    const oldest = this.#pending.first;
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
      this.#remind(oldest, age);
      this.#next = now + nextInterval(now - this.#since);
    }
    // Every few seconds, so that #lastSlow is right.
    this.#lookIn(Math.min(FIRST_REMINDER_MS, this.#next - now));
  }

  #lookIn(milliseconds: number): void {
    this.#timer = this.#clock.after(milliseconds, () => this.#look());
  }

  #remind(oldest: OpenProgress, age: number): void {
    oldest.named = true;
    const now = this.#clock.now();
    const slow = this.#pending.values.filter(({ since }) => now - since >= FIRST_REMINDER_MS);
    const others = slow.length - 1;
    const and = others === 0 ? '' : ` and ${others} other connection${others === 1 ? '' : 's'}`;
    this.#tell(`${formatDestination(oldest.destination)}${and}`, Math.round(age / 1000));
  }
}
