/** Waiting for something only so long, and only while somebody wants it. */
import { GiveUp, type GiveUpSignal } from './giveup.ts';

/** The longest that a timer of Node's runs. Beyond, it would run out at once: 24 days and more. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

export interface Limits {
  readonly signal?: GiveUpSignal | undefined;
  /** No time limit without it. */
  readonly time?: {
    /** At most MAX_TIMER_MS; what is not above 0 is over in the next turn. */
    readonly milliseconds: number;
    /** What to reject with when the time is over. */
    readonly late: () => unknown;
  };
}

/**
 * Settles as the promise that `work` gives. When the time is over or the signal is aborted first,
 * it rejects at once, with `late()` or the signal's reason; `work` isn't called when the signal is
 * aborted already. What becomes of the work then is its own: `giveUp`, which is aborted with the
 * same reason, tells it to end, and its outcome is ignored. No timer and no listener is left.
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

/** What `work` throws is its rejection. */
async function start<T>(work: (giveUp: GiveUpSignal) => Promise<T>, giveUp: GiveUp): Promise<T> {
  return work(giveUp);
}
