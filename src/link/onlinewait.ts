/**
 * --wait-online: at the start, a jump host that can't be reached is dialled again until SECONDS
 * have passed. A tunnel that is started with the machine is there before its network: there is no
 * route, or nobody resolves names.
 *
 *   dial() ──► failed: not reachable ──► a wait: 1, 2, 4, 8, then every 15 s, to the end ──┐
 *     ▲                                    └── disturbed(): the network has changed ───────┤
 *     └────────────────────────────────────────────────────────────────────────────────────┘
 *   a link, or any other error (the login, the host key): the waiting is over for good
 *
 * "Not reachable" are the errors of the table below: nobody has answered over SSH. A link that is
 * lost later is dialled again anyway (supervisor.ts). With --on-demand nobody is dialled at the
 * start, and there is nothing to wait for.
 */
import type { Clock, ClockTimer } from '../base/clock.ts';
import type { ErrorCode } from '../errors/codes.ts';
import { TunnelError } from '../errors/errors.ts';
import type { Observer } from '../observe/observer.ts';
import { inSeconds } from './linkstate.ts';

const UNREACHABLE: readonly ErrorCode[] = [
  'jumphost-dns',
  'jumphost-unreachable',
  'jumphost-refused',
  'jumphost-timeout',
];
const SECOND = 1_000;
/** Between the dials; the last one is for all later ones. Milliseconds. */
const PACE_MS = [1, 2, 4, 8, 15].map((seconds) => seconds * SECOND);
/** After a failed dial, also when the network has changed: changes come in bursts. */
const LEAST_PAUSE_MS = SECOND;
/** A timer of Node for nothing, so that the program doesn't end while it only waits. */
const ALIVE_MS = 60 * SECOND;

export interface OnlineWaitOptions {
  /** --wait-online */
  readonly seconds: number;
  /** Is told what is waited for, each time. */
  readonly told: (what: string) => void;
  readonly observer: Observer;
  readonly clock: Clock;
}

interface Pause {
  readonly since: number;
  readonly end: () => void;
}

export class OnlineWait {
  readonly #options: OnlineWaitOptions;
  /** The first dial, from which the time counts. */
  #since: number | undefined;
  #failures = 0;
  #last: string | undefined;
  #over = false;
  #pause: Pause | undefined;
  /** The network has changed since the dial began that is under way. */
  #disturbed = false;

  constructor(options: OnlineWaitOptions) {
    this.#options = options;
  }

  /** Dials, again and again. Rejects with the error of the last dial, or the signal's reason. */
  async dial<T>(signal: AbortSignal, dial: () => Promise<T>): Promise<T> {
    const { clock } = this.#options;
    this.#since ??= clock.now();
    for (;;) {
      this.#disturbed = false;
      let wait: number | undefined;
      try {
        const link = await dial();
        this.#over = true;
        return link;
      } catch (error) {
        wait = this.#waitAfter(error, signal);
        if (wait === undefined) throw error;
      }
      await this.#pauseFor(wait, signal);
    }
  }

  /** Something may have brought the network. */
  disturbed(): void {
    const pause = this.#pause;
    this.#disturbed = true;
    if (pause === undefined) return;
    const { clock } = this.#options;
    const left = pause.since + LEAST_PAUSE_MS - clock.now();
    if (left <= 0) pause.end();
    else clock.after(left, pause.end);
  }

  /** Milliseconds; undefined: there is no next dial. */
  #waitAfter(error: unknown, signal: AbortSignal): number | undefined {
    const { clock, observer, seconds, told } = this.#options;
    const now = clock.now();
    const left = (this.#since ?? now) + seconds * SECOND - now;
    const unreachable = error instanceof TunnelError && UNREACHABLE.includes(error.code);
    if (this.#over || signal.aborted || !unreachable || left <= 0) {
      this.#over = true;
      return undefined;
    }
    const pace = this.#disturbed ? LEAST_PAUSE_MS : (PACE_MS[this.#failures] ?? PACE_MS.at(-1));
    const wait = Math.min(pace ?? left, left);
    this.#failures++;
    observer.count('tunnel_online_waits_total');
    const { message } = error;
    const until = this.#failures === 1 ? `waiting up to ${seconds} s (--wait-online); ` : '';
    const news = message !== this.#last;
    this.#last = message;
    observer.log(
      news ? 'notice' : 'info',
      `${message}; ${until}trying again in ${inSeconds(wait)}`,
    );
    told(message);
    return wait;
  }

  async #pauseFor(milliseconds: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const alive = setInterval(() => {}, ALIVE_MS);
    let timer: ClockTimer | undefined;
    let end = (): void => {};
    try {
      await new Promise<void>((resolve) => {
        end = resolve;
        this.#pause = { since: clock.now(), end };
        signal.addEventListener('abort', end, { once: true });
        timer = clock.after(milliseconds, end);
      });
    } finally {
      this.#pause = undefined;
      clearInterval(alive);
      timer?.cancel();
      signal.removeEventListener('abort', end);
    }
    signal.throwIfAborted();
  }
}
