/**
 * When the jump host is dialled again. It runs the timer for the wait that backoff.ts computes,
 * shortens it when a connection begins to wait or something may have brought the network back, and
 * says when another attempt is of no use.
 *
 * A wait that is cut short still lasts for a least time, counted from the failure. So no number of
 * events makes us bother a busy server more often, or try a refused login three times in ten
 * minutes.
 *
 * A login in which the server refused nothing, but a question was not answered, is no refusal. It
 * doesn't count for LOGIN_TRIES. When a user asks for a new link, somebody is there to answer, so
 * it is tried again at once.
 */
import type { Clock, ClockTimer } from '../base/clock.ts';
import type { ErrorCode } from '../errors/codes.ts';
import {
  Backoff,
  type FailureKind,
  failureKind,
  isAboutLogin,
  WAITS,
  type Waits,
} from './backoff.ts';

/** After this many refused logins in a row, minutes apart, the account itself must have changed. */
export const LOGIN_TRIES = 3;

export interface RedialOptions {
  /** Called when it is time to dial. */
  readonly dial: () => void;
  /** Whether a connection waits for the link. */
  readonly wanted: () => boolean;
  readonly clock: Clock;
  readonly random: (() => number) | undefined;
}

interface Wait {
  readonly kind: FailureKind;
  readonly since: number;
  /** Milliseconds from `since`, once a connection waits. */
  readonly eager: number;
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

  /** A login was refused since the last dial that succeeded. */
  get loginRefused(): boolean {
    return this.#loginsRefused > 0;
  }

  /** Milliseconds until a login is tried again that has failed; 0: none is waited for. */
  get untilLogin(): number {
    const wait = this.#wait;
    return wait && isAboutLogin(wait.kind) ? wait.until - this.#options.clock.now() : 0;
  }

  /** When the timer dials, on the clock; undefined: it isn't running. */
  get dialsAt(): number | undefined {
    return this.#wait?.until;
  }

  /** A login was refused, and is tried again by somebody else (loginwait.ts). */
  loginWasRefused(): void {
    this.#loginsRefused++;
  }

  /** A link that was up for `ms` is lost. Returns the wait in ms; 0: the caller dials now. */
  afterLoss(ms: number): number {
    return this.#start('dropped', this.#backoff.lost(ms));
  }

  /**
   * A dial has failed with an error of this code. `downFor`: ms since the link was lost. Returns
   * the wait in ms; undefined when trying again is of no use.
   */
  afterFailure(code: ErrorCode, downFor: number): number | undefined {
    const kind = failureKind(code);
    if (kind === 'login') this.#loginsRefused++;
    if (kind === undefined) return undefined;
    // No other failure says that the login is of no use.
    if (kind === 'login' && this.#loginsRefused >= LOGIN_TRIES) return undefined;
    const { patient, eager } = this.#backoff.failed(kind, downFor);
    return this.#start(kind, { patient: this.#hurried ? WAITS[kind].floor : patient, eager });
  }

  /** A dial has succeeded. */
  succeeded(): void {
    this.#loginsRefused = 0;
    this.#hurried = false;
    this.#backoff.succeeded();
  }

  /** A connection has begun to wait. */
  demanded(): void {
    const wait = this.#wait;
    if (wait !== undefined) this.#shorten(wait, wait.eager);
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
    return this.#shorten(wait, WAITS[wait.kind].floor);
  }

  /** A user asks for a new link, and can be asked. */
  requested(): void {
    const wait = this.#wait;
    if (wait?.kind === 'unanswered') this.#shorten(wait, 0);
    else this.hurry();
  }

  cancel(): void {
    this.#wait?.timer.cancel();
    this.#wait = undefined;
  }

  /** Returns the wait in ms. 0: there is none, and nothing is started. */
  #start(kind: FailureKind, { patient, eager }: Waits): number {
    const since = this.#options.clock.now();
    const wait = this.#options.wanted() ? Math.min(eager, patient) : patient;
    // Whoever asked dials now: a timer beside that would dial a second time.
    if (wait === 0) return 0;
    this.#wait = { kind, since, eager, until: since + wait, timer: this.#timer(wait) };
    return wait;
  }

  /** To `least` ms from its beginning. Returns what is left of it in ms if that is less. */
  #shorten(wait: Wait, least: number): number | undefined {
    const now = this.#options.clock.now();
    const until = Math.max(now, wait.since + least);
    if (until >= wait.until) return undefined;
    wait.timer.cancel();
    this.#wait = { ...wait, until, timer: this.#timer(until - now) };
    return until - now;
  }

  #timer(ms: number): ClockTimer {
    return this.#options.clock.after(ms, () => {
      this.#wait = undefined;
      this.#hurried = false;
      this.#options.dial();
    });
  }
}
