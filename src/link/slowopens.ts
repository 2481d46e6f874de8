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
import { FIRST_REMINDER_MS, nextInterval } from '../base/reminder.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';

/** Milliseconds. */
export const QUIET_MS = 60_000;

/** How far one open has got. */
interface OpenProgress {
  /** It has a place, and the jump host is asked. Call it once at the most. */
  readonly sent: () => void;
  /** The jump host has answered (`opened`), or nobody waits any more. Call it once. */
  readonly ended: (opened: boolean) => void;
}

interface Pending {
  readonly destination: Destination;
  readonly since: number;
  named: boolean;
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
    const since = this.#clock.now();
    let state = this.#withoutPlace;
    let pending = state.enter(destination);
    return {
      sent: () => {
        state.leave(pending);
        state = this.#asked;
        pending = state.enter(destination, pending.named);
      },
      ended: (opened) => {
        state.leave(pending);
        if (!pending.named || !opened) return;
        const seconds = Math.round((this.#clock.now() - since) / 1000);
        this.#observer.log(
          'notice',
          `${formatDestination(destination)} is open, after ${seconds} s`,
        );
      },
    };
  }
}

/** Those that wait for the same thing. */
class SlowState {
  readonly #clock: Clock;
  readonly #tell: (which: string, seconds: number) => void;
  /** In the order in which they came. */
  readonly #pending = new Set<Pending>();
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

  /** `named`: a message has named it already. */
  enter(destination: Destination, named = false): Pending {
    const pending: Pending = { destination, since: this.#clock.now(), named };
    this.#pending.add(pending);
    this.#timer ??= this.#clock.after(FIRST_REMINDER_MS, () => this.#look());
    return pending;
  }

  leave(pending: Pending): void {
    this.#pending.delete(pending);
    const now = this.#clock.now();
    if (now - pending.since >= FIRST_REMINDER_MS) this.#lastSlow = now;
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
      this.#remind(oldest, age);
      this.#next = now + nextInterval(now - this.#since);
    }
    // Every few seconds, so that #lastSlow is right.
    this.#lookIn(Math.min(FIRST_REMINDER_MS, this.#next - now));
  }

  #lookIn(milliseconds: number): void {
    this.#timer = this.#clock.after(milliseconds, () => this.#look());
  }

  #remind(oldest: Pending, age: number): void {
    oldest.named = true;
    const now = this.#clock.now();
    const slow = [...this.#pending].filter(({ since }) => now - since >= FIRST_REMINDER_MS);
    const others = slow.length - 1;
    const and = others === 0 ? '' : ` and ${others} other connection${others === 1 ? '' : 's'}`;
    this.#tell(`${formatDestination(oldest.destination)}${and}`, Math.round(age / 1000));
  }
}
