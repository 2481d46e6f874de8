/**
 * --wait-auth: a login that is refused now may be accepted soon, because the server has not heard
 * of the key yet (a cache, a directory). It is tried again until SECONDS have passed since the
 * first refusal.
 *
 *   time      0     75   150        330             630      795      960  ...      SECONDS
 *   attempt   ×──────×─────×─────────×───────────────×────────×────────×── 165 s ──────×
 *
 * Servers shut out addresses with many refused logins, and this pace stays below what they count:
 *
 * | who counts                       | what                                             |
 * |----------------------------------|--------------------------------------------------|
 * | sshd 9.8 (PerSourcePenalties)    | 5 s each; shuts out when 15 s have come together |
 * | fail2ban, as it is installed     | 5 within 10 minutes                              |
 *
 * So at most MAX_IN_WINDOW logins are refused within WINDOW_MS. The last attempt is made when the
 * time is over. If it would come too soon after the one before, that one is left out.
 *
 * A jump host that can't be reached after a refusal (it may have shut us out, or restarted) is
 * waited for at the same pace. At the end, the refusal is the error.
 *
 * An attempt may be left out because nobody needs the link (--on-demand). The next one then comes
 * when somebody does: later than this pace, and the time goes on meanwhile. If it is over by then,
 * a new one begins with the next refusal.
 */
import type { Clock, ClockTimer } from '../base/clock.ts';
import { TunnelError } from '../errors/errors.ts';
import type { Observer } from '../observe/observer.ts';
import { LEAST_WAIT_AUTH } from '../ssh/options.ts';

const SECOND = 1_000;

/** Between the attempts; the last one is for all later ones. Milliseconds. */
const LOGIN_PACE_MS = [75, 75, 180, 300, 165].map((seconds) => seconds * SECOND);
/** Before the attempt with which the time is over. */
const LEAST_PACE_MS = LEAST_WAIT_AUTH * SECOND;
const MAX_IN_WINDOW = 4;
const WINDOW_MS = 10 * 60 * SECOND;
/** A timer of Node for nothing, so that the program doesn't end while it only waits. */
const ALIVE_MS = 60 * SECOND;

export interface LoginWaitOptions {
  /** --wait-auth; 0: a refused login is not tried again here. */
  readonly seconds: number;
  readonly observer: Observer;
  readonly clock: Clock;
}

export class LoginWait {
  readonly #options: LoginWaitOptions;
  /** When the logins were refused, since the last one that was accepted; those that count. */
  #refusals: number[] = [];
  /** The first refusal, from which the time counts. */
  #since: number | undefined;
  /** The attempt that was due has been left out. */
  #leftOut = false;
  #attempts = 0;
  #refusal: TunnelError | undefined;
  #last: TunnelError | undefined;

  constructor(options: LoginWaitOptions) {
    this.#options = options;
  }

  /**
   * An attempt has failed with `error`. Returns the milliseconds until the next one, and logs what
   * is waited for. undefined: there is none; `outcome` says why.
   */
  failed(error: unknown): number | undefined {
    if (this.#options.seconds === 0 || !(error instanceof TunnelError)) return undefined;
    // Whole numbers, so that no rounding makes a wait look too short.
    const now = Math.round(this.#options.clock.now());
    if (this.#leftOut) this.#endUnnoticed(now);
    const refused = error.code === 'auth-failed';
    const outage = this.#refusal !== undefined && error.code.startsWith('jumphost-');
    if (!refused && !outage) return undefined;
    if (refused) {
      this.#refusal = error;
      this.#since ??= now;
      this.#refusals.push(now);
    }
    const wait = this.#wait(now);
    this.#attempts++;
    if (wait !== undefined) {
      this.#options.observer.count('tunnel_logins_waited_for_total');
      this.#tell(error, now, wait);
    }
    this.#last = error;
    return wait;
  }

  /** What to report when there is no next attempt: the refusal that was waited for, or `error`. */
  outcome(error: unknown): unknown {
    const refusal = this.#refusal;
    if (refusal === undefined || error === refusal || !(error instanceof TunnelError)) return error;
    if (!error.code.startsWith('jumphost-')) return error;
    return new TunnelError('auth-failed', `${refusal.message}; since then: ${error.message}`, {
      hint: 'it may have blocked this address because of refused logins: try again later',
      cause: error,
    });
  }

  succeeded(): void {
    const since = this.#since;
    if (since !== undefined && this.#attempts > 0) {
      const { observer, clock } = this.#options;
      observer.log('notice', `the login is accepted, after ${whole(clock.now() - since)} s`);
    }
    this.#refusals = [];
    this.#forget();
  }

  /** The attempt that is due is left out: the next one comes when the link is needed. */
  leaveOut(): void {
    this.#leftOut = true;
  }

  /** Once the time has run out unnoticed, only the pace still counts. */
  #endUnnoticed(now: number): void {
    this.#leftOut = false;
    if (now < (this.#since ?? now) + this.#options.seconds * SECOND) return;
    this.#refusals = this.#refusals.filter((at) => at > now - WINDOW_MS);
    this.#forget();
  }

  #forget(): void {
    this.#since = undefined;
    this.#leftOut = false;
    this.#attempts = 0;
    this.#refusal = undefined;
    this.#last = undefined;
  }

  /** Resolves after `ms`. Rejects with the signal's reason. */
  async pause(ms: number, signal: AbortSignal): Promise<void> {
    const alive = setInterval(() => {}, ALIVE_MS);
    let timer: ClockTimer | undefined;
    let abort = (): void => {};
    try {
      await new Promise<void>((resolve, reject) => {
        abort = () => reject(signal.reason);
        if (signal.aborted) abort();
        signal.addEventListener('abort', abort, { once: true });
        timer = this.#options.clock.after(ms, resolve);
      });
    } finally {
      clearInterval(alive);
      timer?.cancel();
      signal.removeEventListener('abort', abort);
    }
  }

  #wait(now: number): number | undefined {
    const since = this.#since ?? now;
    const left = since + this.#options.seconds * SECOND - now;
    const usual = paceAfter(this.#attempts);
    const isLast = usual + paceAfter(this.#attempts + 1) >= left;
    const next = now + usual;
    const wait = isLast && !fits(now + left, next, [...this.#refusals, next]) ? left : usual;
    return fits(now + wait, now, this.#refusals) ? wait : undefined;
  }

  #tell(error: TunnelError, now: number, wait: number): void {
    const { observer, seconds } = this.#options;
    const since = this.#since ?? now;
    const again = `trying again in ${whole(wait)} s`;
    if (this.#last === undefined) {
      const what = `waiting up to ${seconds} s for the login to be accepted (--wait-auth)`;
      observer.log('notice', `${error.message}; ${what}; ${again}`);
      return;
    }
    // A refusal names all keys each time: once is enough.
    const same = error.code === 'auth-failed' && this.#last.code === error.code;
    const what = same ? 'the login is still refused' : error.message;
    observer.log('notice', `${what}, after ${whole(now - since)} of ${seconds} s; ${again}`);
  }
}

/** Whether an attempt at `time` is no burden. `last`: when the one before it was made. */
function fits(time: number, last: number, refusals: readonly number[]): boolean {
  const counted = refusals.filter((at) => at > time - WINDOW_MS).length;
  return counted < MAX_IN_WINDOW && time - last >= LEAST_PACE_MS;
}

/** Milliseconds after this many attempts again. */
function paceAfter(attempts: number): number {
  return LOGIN_PACE_MS[attempts] ?? LOGIN_PACE_MS.at(-1) ?? 0;
}

function whole(ms: number): number {
  return Math.round(ms / SECOND);
}
