/**
 * What a run owns, from its first part to its end.
 *
 *   own()       a part, and how it is closed        in the order in which they are made
 *   within()    waits for something, unless the session ends before
 *   endsWith()  a part that is lost ends the session
 *   close()     the parts in reverse order, each within its limit, whatever the others do
 *
 *   running ── stop, or a part is lost ──► ending ── close() ──► closed
 *
 * `signal` aborts when the session ends: with the reason of `stop`, or with the error of the part
 * that was lost. What is under way then is not waited for by within(), but by the close() of the
 * part that does it (base/partstart.ts): nothing is started behind the session's back.
 *
 * A part that can't be closed, or not in time, is logged and named by close(); the next one is
 * closed all the same.
 *
 * The end as a whole has a limit as well: once CLOSE_LIMITS_IN_ALL limits of a part are used up,
 * the parts that are left get LEAST_SHARE of a limit each. So a machine under load, or many parts
 * that hang, don't keep a stop waiting.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';
import type { Observer } from '../observe/observer.ts';

/** For a part to close, in milliseconds. Longer than any part takes that is well. */
export const CLOSE_LIMIT_MS = 10_000;
/** For all parts together, as a multiple of a part's limit. */
export const CLOSE_LIMITS_IN_ALL = 2;
/** What a part gets in any case, of its limit. */
export const LEAST_SHARE = 1 / 20;

export interface SessionOptions {
  readonly observer: Observer;
  /** Aborted to stop in order. */
  readonly stop: AbortSignal;
  /** Default: CLOSE_LIMIT_MS. */
  readonly closeLimit?: number;
}

export interface CloseFailure {
  /** The part, as `own` was told. */
  readonly name: string;
  readonly error: unknown;
}

interface OwnedPart {
  readonly name: string;
  readonly close: () => unknown;
}

export class Session {
  readonly #observer: Observer;
  readonly #closeLimit: number;
  readonly #ending = new AbortController();
  readonly #parts: OwnedPart[] = [];
  /** Rejects when the session ends. */
  readonly #ended: Promise<never>;
  #closing: Promise<readonly CloseFailure[]> | undefined;

  constructor({ observer, stop, closeLimit = CLOSE_LIMIT_MS }: SessionOptions) {
    this.#observer = observer;
    this.#closeLimit = closeLimit;
    this.#ended = new Promise((_resolve, reject) => {
      this.signal.addEventListener('abort', () => reject(this.signal.reason), { once: true });
    });
    this.#ended.catch(() => {}); // whoever waits hears of it
    if (stop.aborted) this.#ending.abort(stop.reason);
    else stop.addEventListener('abort', () => this.#ending.abort(stop.reason), { once: true });
  }

  /** Aborted with the reason of `stop`, or with the error with which a part has ended. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /**
   * Takes a part over, and gives it back. `name` completes "... could not be closed". `close` may
   * be asynchronous; it is called once, before those of the parts that were there earlier.
   */
  own<T>(name: string, part: T, close: (part: T) => unknown): T {
    if (this.#closing !== undefined) throw new TypeError(`${name}: the session has been closed`);
    this.#parts.push({ name, close: () => close(part) });
    return part;
  }

  /** A part that ends with an error ends the session; one that ends without has been closed. */
  endsWith(ended: Promise<TunnelError | undefined>): void {
    void ended.then((error) => {
      if (error !== undefined) this.#ending.abort(error);
    });
  }

  /** What `work` gives; rejects with the signal's reason if the session ends before. */
  within<T>(work: Promise<T>): Promise<T> {
    return Promise.race([this.#ended, work]);
  }

  /** Waits for the end of the session. Rejects with the signal's reason. */
  untilEnd(): Promise<never> {
    return this.#ended;
  }

  /** Closes all parts. May be called more than once. Never rejects. */
  close(): Promise<readonly CloseFailure[]> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<readonly CloseFailure[]> {
    this.#observer.log('debug', 'stopping');
    const failures: CloseFailure[] = [];
    const until = performance.now() + CLOSE_LIMITS_IN_ALL * this.#closeLimit;
    for (const { name, close } of this.#parts.toReversed()) {
      try {
        const left = Math.min(this.#closeLimit, until - performance.now());
        await inTime(close, Math.max(left, LEAST_SHARE * this.#closeLimit));
      } catch (error) {
        const why = reasonOf(error);
        this.#observer.log('error', `${name} could not be closed: ${why}`);
        failures.push({ name, error });
      }
    }
    return failures;
  }
}

/** `limit`: milliseconds. */
async function inTime(close: () => unknown, limit: number): Promise<void> {
  const timer = new AbortController();
  const late = delay(limit, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`it has not ended within ${(limit / 1000).toFixed(2)} s`);
  });
  late.catch(() => {}); // cancelled below
  try {
    await Promise.race([late, close()]);
  } finally {
    timer.abort();
  }
}

/**
 * Runs `body` in a session, and closes that whatever happens. Resolves to what `body` gives.
 * Rejects with what it rejects with, which is the reason of `stop` after an orderly stop; or with
 * `unclean` when all went well until a part could not be closed: `whenUnclean` may say otherwise.
 */
export async function inSession<T>(
  options: SessionOptions,
  body: (session: Session) => Promise<T>,
  whenUnclean: (error: TunnelError, result: T) => T = (error) => {
    throw error;
  },
): Promise<T> {
  const session = new Session(options);
  const { stop } = options;
  let result: T;
  try {
    result = await body(session);
  } catch (error) {
    const failures = await session.close();
    throw isReasonOf(stop, error) ? (uncleanError(failures) ?? stop.reason) : error;
  }
  const unclean = uncleanError(await session.close());
  return unclean === undefined ? result : whenUnclean(unclean, result);
}

/** Whether `error` says no more than that there was a stop. */
function isReasonOf(stop: AbortSignal, error: unknown): boolean {
  if (!stop.aborted) return false;
  // Node's own functions wrap the reason (AbortError).
  return error === stop.reason || (error instanceof Error && error.cause === stop.reason);
}

function uncleanError(failures: readonly CloseFailure[]): TunnelError | undefined {
  const [first] = failures;
  if (first === undefined) return undefined;
  const names = failures.map(({ name }) => name).join(', ');
  return new TunnelError('unclean', `not everything could be undone: ${names}`, {
    hint: 'run "tunnel clean", and see the messages above',
    cause: first.error,
  });
}
