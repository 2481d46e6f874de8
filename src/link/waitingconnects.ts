/**
 * Connects that wait for a link. They leave by `release` (there is a link), by their time, by
 * `refuseAll` (there will be none), or because the application has given up.
 *
 * Limit: MAX_HELD; what comes beyond is refused at once and counted. The answer is always
 * "refused": it is the one failure that programs take for "not now" and that they act on at once;
 * "unreachable" is taken for a mistake in the address, and silence makes them hang.
 */
import type { GiveUpSignal } from '../base/giveup.ts';
import { ConnectError } from '../flow/connector.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';

/** As many as the endpoint keeps waiting (capture/tun/endpoint.ts, MAX_HELD). */
export const MAX_HELD = 4096;

export interface WaitingConnectsOptions {
  readonly observer: Observer;
  /** Milliseconds on a clock that only goes forward. */
  readonly now: () => number;
}

interface Wait {
  readonly since: number;
  readonly seconds: number;
  readonly signal: GiveUpSignal | undefined;
  readonly cause: () => unknown;
}

/** One connect that waits. */
interface Entry {
  release(): void;
  refuse(why: string, cause: unknown): void;
  /** From now on it may wait for so many seconds from when it was asked for. */
  allow(seconds: number): void;
}

export class WaitingConnects {
  readonly #options: WaitingConnectsOptions;
  readonly #held = new Set<Entry>();

  constructor(options: WaitingConnectsOptions) {
    this.#options = options;
  }

  /**
   * Resolves when there is a link. Rejects with ConnectError `refused`, or with the signal's
   * reason. It may wait for `seconds` (0: not at all) from `since`, when it was asked for; `cause`:
   * why there is no link, asked when the time is over.
   */
  wait(destination: Destination, { since, seconds, signal, cause }: Wait): Promise<void> {
    const { observer, now } = this.#options;
    const refused = (why: string, reason: unknown) =>
      new ConnectError('refused', `${formatDestination(destination)}: ${why}`, { cause: reason });
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (since + seconds * 1_000 <= now()) {
        observer.count('tunnel_hold_timeouts_total');
        throw refused(noLink(seconds), cause());
      }
      if (this.#held.size >= MAX_HELD) {
        observer.count('tunnel_hold_limit_total');
        throw refused(
          `no link to the jump host, and ${MAX_HELD} connections wait for it already`,
          cause(),
        );
      }
      observer.count('tunnel_held_total');
      let timer: NodeJS.Timeout | undefined;
      const leave = () => {
        this.#held.delete(entry);
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
      const abort = () => {
        leave();
        reject(signal?.reason);
      };
      const entry: Entry = {
        release() {
          leave();
          resolve();
        },
        refuse(why, reason) {
          leave();
          reject(refused(why, reason));
        },
        allow(allowed) {
          clearTimeout(timer);
          timer = setTimeout(
            () => {
              observer.count('tunnel_hold_timeouts_total');
              entry.refuse(noLink(allowed), cause());
            },
            Math.max(0, since + allowed * 1_000 - now()),
          );
        },
      };
      entry.allow(seconds);
      signal?.addEventListener('abort', abort, { once: true });
      this.#held.add(entry);
    });
  }

  /** What waits may wait for so many seconds, and no longer; what has waited longer is refused. */
  allow(seconds: number): void {
    for (const entry of this.#held) entry.allow(seconds);
  }

  release(): void {
    for (const entry of [...this.#held]) entry.release();
  }

  /** `why`: what to tell each. */
  refuseAll(why: string, cause: unknown): void {
    for (const entry of [...this.#held]) entry.refuse(why, cause);
  }
}

function noLink(seconds: number): string {
  return seconds === 0
    ? 'no link to the jump host'
    : `no link to the jump host within ${seconds} s`;
}
