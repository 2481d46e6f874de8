/** Waits for work with a time limit, and only while somebody wants the result. */
import { GiveUp, type GiveUpSignal } from './giveup.ts';

/** The longest time of a Node timer, more than 24 days. A timer set for longer fires at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

export interface Limits {
  readonly signal?: GiveUpSignal | undefined;
  /** Undefined: no time limit. */
  readonly time?: {
    /** At most MAX_TIMER_MS. With 0 or less the time is over in the next turn. */
    readonly milliseconds: number;
    /** What to reject with when the time is over. */
    readonly late: () => unknown;
  };
}

/**
 * Settles as the promise that `work` returns. If the time is over or the signal is aborted first,
 * it rejects at once, with `late()` or the signal's reason. If the signal is already aborted,
 * `work` isn't called. When it rejects early, it aborts `giveUp` with the same reason, which tells
 * the work to end; the work's outcome is ignored. No timer and no listener is left behind.
 *
 * Throws RangeError for a time that no timer can run.
 */
export function within<T>(
  { signal, time }: Limits,
  work: (giveUp: GiveUpSignal) => Promise<T>,
): Promise<T> {
  if (time !== undefined && !(time.milliseconds <= MAX_TIMER_MS))
    throw new RangeError(`a timer of ${time.milliseconds} ms`);
  if (signal?.aborted) return Promise.reject(signal.reason);
  const giveUp = new GiveUp();
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    };
    const stop = (reason: unknown): void => {
      end();
      reject(reason);
      giveUp.abort(reason);
    };
    const abort = (): void => stop(signal?.reason);
    const timer = time && setTimeout(() => stop(time.late()), time.milliseconds);
    signal?.addEventListener('abort', abort, { once: true });
    start(work, giveUp).then(
      (value) => {
        end();
        resolve(value);
      },
      (error: unknown) => {
        end();
        reject(error);
      },
    );
  });
}

/** Turns an error that `work` throws into a rejection. */
async function start<T>(work: (giveUp: GiveUpSignal) => Promise<T>, giveUp: GiveUp): Promise<T> {
  return work(giveUp);
}
