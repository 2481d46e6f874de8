/**
 * When the jump host is dialled again. It runs the timer for the wait that backoff.ts computes,
 * shortens it when something may have brought the network back, and says when another attempt is of
 * no use.
 *
 * A wait that is cut short still lasts for the floor of its kind, counted from the failure. So no
 * number of events makes us bother a busy server more often, or try a refused login three times in
 * ten minutes.
 */
import type { Clock, ClockTimer } from '../base/clock.ts';
import type { ErrorCode } from '../errors/codes.ts';
import { Backoff, type FailureKind, failureKind, WAITS } from './backoff.ts';

/** After this many refused logins in a row, minutes apart, the account itself must have changed. */
export const LOGIN_TRIES = 3;

export interface RedialOptions {
  /** Called when it is time to dial. */
  readonly dial: () => void;
  readonly clock: Clock;
  readonly random: (() => number) | undefined;
}

interface Wait {
  readonly kind: FailureKind;
  readonly since: number;
  readonly until: number;
  readonly timer: ClockTimer;
}

export class RedialSchedule {
  readonly #options: RedialOptions;
  readonly #backoff: Backoff;
  #wait: Wait | undefined;
  #loginsRefused = 0;
  /** `hurry` was called while a dial was under way: the network that it began on may be gone. */
  #hurried = false;

  constructor(options: RedialOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.random);
  }

  /** A link that was up for `ms` is lost. Returns the wait in ms; 0: the caller dials now. */
  afterLoss(ms: number): number {
    const wait = this.#backoff.lost(ms);
    if (wait > 0) this.#start('ordinary', wait);
    return wait;
  }

  /**
   * A dial has failed with an error of this code. `downFor`: ms since the link was lost. Returns
   * the wait in ms; undefined when trying again is of no use.
   */
  afterFailure(code: ErrorCode, downFor: number): number | undefined {
    const kind = failureKind(code);
    if (kind === 'login') this.#loginsRefused++;
    if (kind === undefined || this.#loginsRefused >= LOGIN_TRIES) return undefined;
    const computed = this.#backoff.next(kind, downFor);
    const wait = this.#hurried ? WAITS[kind].floor : computed;
    this.#start(kind, wait);
    return wait;
  }

  /** A dial has succeeded. */
  succeeded(): void {
    this.#loginsRefused = 0;
    this.#hurried = false;
  }

  /**
   * Something may have brought the network back. Returns the new wait in ms if this has shortened
   * it.
   */
  hurry(): number | undefined {
    const wait = this.#wait;
    if (wait === undefined) {
      this.#hurried = true;
      return undefined;
    }
    this.#backoff.reset();
    const now = this.#options.clock.now();
    const until = Math.max(now, wait.since + WAITS[wait.kind].floor);
    if (until >= wait.until) return undefined;
    wait.timer.cancel();
    this.#wait = { ...wait, until, timer: this.#timer(until - now) };
    return until - now;
  }

  cancel(): void {
    this.#wait?.timer.cancel();
    this.#wait = undefined;
  }

  #start(kind: FailureKind, wait: number): void {
    const since = this.#options.clock.now();
    this.#wait = { kind, since, until: since + wait, timer: this.#timer(wait) };
  }

  #timer(ms: number): ClockTimer {
    return this.#options.clock.after(ms, () => {
      this.#wait = undefined;
      this.#hurried = false;
      this.#options.dial();
    });
  }
}
