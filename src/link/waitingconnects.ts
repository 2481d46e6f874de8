/**
 * Connects that wait for a link. A wait ends by `release` (there is a link), when its time is over,
 * by `refuseAll` (there will be no link), or when the application gives up.
 *
 * At most MAX_WAITING_CONNECTS wait; further ones are refused at once and counted. The answer is
 * always "refused": programs understand it as "not now" and react at once. They take "unreachable"
 * for a wrong address, and silence makes them hang.
 *
 * Timers of the clock don't keep the process running, and without a link nothing else may. So it
 * keeps running while anybody waits: "tunnel nc" or a program with the library may do nothing else.
 */
import type { Clock, ClockTimer } from '../base/clock.ts';
import type { GiveUpSignal } from '../base/giveup.ts';
import { MAX_TIMER_MS } from '../base/within.ts';
import { TunnelError } from '../errors/errors.ts';
import { ConnectError } from '../flow/connector.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';

/** As many as the endpoint keeps waiting (capture/tun/endpoint.ts, MAX_WAITING_CONNECTS). */
export const MAX_WAITING_CONNECTS = 4096;

export interface WaitingConnectsOptions {
  readonly observer: Observer;
  readonly clock: Clock;
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
  /** When its wait is over, on the clock. */
  readonly until: number;
  /** From now on it may wait for this many seconds, counted from when it was asked for. */
  allow(seconds: number): void;
}

export class WaitingConnects {
  readonly #options: WaitingConnectsOptions;
  readonly #entries = new Set<Entry>();
  /** Keeps the process running while there are entries. */
  #running: NodeJS.Timeout | undefined;

  constructor(options: WaitingConnectsOptions) {
    this.#options = options;
  }

  /** How many wait now. */
  get size(): number {
    return this.#entries.size;
  }

  /** When the first of these waits is over, on the clock. */
  get firstEnd(): number | undefined {
    let first: number | undefined;
    for (const { until } of this.#entries) first = Math.min(first ?? until, until);
    return first;
  }

  /**
   * Resolves when there is a link. Rejects with ConnectError `refused`, or with the signal's
   * reason. It may wait for `seconds` (0: not at all) from `since`, when it was asked for. `cause`
   * says why there is no link; it is called when the connect is refused.
   */
  wait(destination: Destination, { since, seconds, signal, cause }: Wait): Promise<void> {
    const { observer, clock } = this.#options;
    const refused = (why: string, reason: unknown) =>
      new ConnectError('refused', `${formatDestination(destination)}: ${why}`, { cause: reason });
    const noLinkIn = (allowed: number) => {
      const reason = cause();
      return refused(noLink(allowed, reason), reason);
    };
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (since + seconds * 1_000 <= clock.now()) {
        observer.count('tunnel_hold_timeouts_total');
        throw noLinkIn(seconds);
      }
      if (this.#entries.size >= MAX_WAITING_CONNECTS) {
        observer.count('tunnel_hold_limit_total');
        throw refused(
          `no link to the jump host, and ${MAX_WAITING_CONNECTS} connections are already waiting for it`,
          cause(),
        );
      }
      observer.count('tunnel_held_total');
      let timer: ClockTimer | undefined;
      let until = 0;
      const leave = () => {
        this.#remove(entry);
        timer?.cancel();
        signal?.removeEventListener('abort', abort);
      };
      const abort = () => {
        leave();
        reject(signal?.reason);
      };
      const entry: Entry = {
        get until() {
          return until;
        },
        release() {
          leave();
          resolve();
        },
        refuse(why, reason) {
          leave();
          reject(refused(why, reason));
        },
        allow(allowed) {
          timer?.cancel();
          until = since + allowed * 1_000;
          const left = Math.max(0, until - clock.now());
          timer = clock.after(left, () => {
            observer.count('tunnel_hold_timeouts_total');
            leave();
            reject(noLinkIn(allowed));
          });
        },
      };
      entry.allow(seconds);
      signal?.addEventListener('abort', abort, { once: true });
      this.#entries.add(entry);
      this.#running ??= setInterval(() => {}, MAX_TIMER_MS);
    });
  }

  #remove(entry: Entry): void {
    this.#entries.delete(entry);
    if (this.#entries.size > 0) return;
    clearInterval(this.#running);
    this.#running = undefined;
  }

  /**
   * All waiting connects may wait for this many seconds in all; those that have waited longer are
   * refused.
   */
  allow(seconds: number): void {
    for (const entry of this.#entries) entry.allow(seconds);
  }

  release(): void {
    for (const entry of [...this.#entries]) entry.release();
  }

  /** `why`: goes into each error message. */
  refuseAll(why: string, cause: unknown): void {
    for (const entry of [...this.#entries]) entry.refuse(why, cause);
  }
}

/** With the reason, because an application's user may see nothing else. */
function noLink(seconds: number, reason: unknown): string {
  const within = seconds === 0 ? '' : ` within ${seconds} s`;
  const why = reason instanceof TunnelError ? `: ${reason.message}` : '';
  return `no link to the jump host${within}${why}`;
}
