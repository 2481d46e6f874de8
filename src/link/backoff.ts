/**
 * How long to wait before the jump host is dialled again. That depends on whom the next attempt
 * would burden, which shows in how the last one failed:
 *
 * | kind     | the last attempt                        | wait                                     |
 * |----------|-----------------------------------------|------------------------------------------|
 * | silent   | reached nobody: no answer, no route, no | 1-2 s; after 10 min of an outage 1-30 s  |
 * |          | such name                               |                                          |
 * | ordinary | was refused by the kernel there, was    | 1-30 s                                   |
 * |          | accepted but not served in time, or the |                                          |
 * |          | link did not last                       |                                          |
 * | punished | took up sshd's time: closed before or   | 15 s - 10 min (MaxStartups,              |
 * |          | during authentication                   | PerSourcePenalties)                      |
 * | login    | was refused the login                   | 5.5-6.5 min: at most two within 10       |
 * |          |                                         | minutes                                  |
 *
 * The ceiling of `ordinary` and `punished` doubles with each such failure. The wait is drawn evenly
 * from between the floor and the ceiling ("full jitter"), so that not all clients of a jump host
 * dial at the same moment when it comes back.
 */
import type { ErrorCode } from '../errors/codes.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

/** A link that lasted this long really worked; a shorter one counts as a failed dial. */
export const LASTING_MS = 2_000;

export type FailureKind = 'silent' | 'ordinary' | 'punished' | 'login';

/** Milliseconds. */
export const WAITS = {
  silent: { floor: SECOND, ceiling: 2 * SECOND },
  ordinary: { floor: SECOND, ceiling: 30 * SECOND },
  /** sshd 9.8 and later enforces penalties from 15 s on; they last up to 10 minutes. */
  punished: { floor: 15 * SECOND, ceiling: 10 * MINUTE },
  login: { floor: 5.5 * MINUTE, ceiling: 6.5 * MINUTE },
} as const;

/** Attempts that reach nobody burden nobody, but each wakes this machine. */
export const SILENT_EAGER_MS = 10 * MINUTE;

/** The kind of a TunnelError's code. undefined: trying again is of no use. */
export function failureKind(code: ErrorCode): FailureKind | undefined {
  switch (code) {
    case 'jumphost-timeout':
    case 'jumphost-unreachable':
    case 'jumphost-dns':
      return 'silent';
    case 'jumphost-refused':
    case 'jumphost-slow':
      return 'ordinary';
    case 'auth-failed':
    case 'auth-timeout':
      return 'login';
    default:
      // openssh-failed: an ssh that had connected before ended for a reason that isn't known here.
      return code.startsWith('jumphost-') || code === 'openssh-failed' ? 'punished' : undefined;
  }
}

/** Seconds for TCP and key exchange when the dial is expected to be quick. */
const SHORT_PATIENCE = 4;
/**
 * One in this many attempts gets all the time that the user allows: the path may have become
 * slower.
 */
const PATIENT_EVERY = 4;

/**
 * Seconds for TCP and key exchange: at most `limit` (--connect-timeout). `lastDialMs`: how long the
 * last successful dial took, in ms; undefined: none has succeeded. While a path drops everything,
 * the kernel repeats its SYN less and less often; short attempts notice sooner that the path is
 * back.
 */
export function dialPatience(
  limit: number,
  attempt: number,
  lastDialMs: number | undefined,
): number {
  if (lastDialMs === undefined || attempt % PATIENT_EVERY === 0) return limit;
  return Math.min(limit, Math.max(SHORT_PATIENCE, (4 * lastDialMs) / SECOND));
}

export class Backoff {
  readonly #random: () => number;
  /** Failures of each kind since the last reset: each doubles the kind's ceiling. */
  readonly #failures = { ordinary: 0, punished: 0 };

  /** `random`: like Math.random. */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /**
   * Records a failure. Returns the wait before the next attempt, in ms. `downFor`: ms since the
   * link was lost.
   */
  next(kind: FailureKind, downFor: number): number {
    const { floor, ceiling } = this.#range(kind, downFor);
    if (kind === 'ordinary' || kind === 'punished') this.#failures[kind]++;
    return floor + this.#random() * (ceiling - floor);
  }

  /**
   * Records the loss of a link that was up for `ms`. Returns the wait in ms: 0 if the link had
   * lasted. A server that lets us in and throws us out again must not be hammered.
   */
  lost(ms: number): number {
    if (ms < LASTING_MS) return this.next('ordinary', 0);
    this.reset();
    return 0;
  }

  /** Starts again from the lowest ceilings: the link has lasted, or the network has changed. */
  reset(): void {
    this.#failures.ordinary = 0;
    this.#failures.punished = 0;
  }

  #range(kind: FailureKind, downFor: number): { floor: number; ceiling: number } {
    if (kind === 'login') return WAITS.login;
    if (kind === 'silent') return downFor < SILENT_EAGER_MS ? WAITS.silent : WAITS.ordinary;
    const { floor, ceiling } = WAITS[kind];
    return { floor, ceiling: Math.min(ceiling, floor * 2 ** (this.#failures[kind] + 1)) };
  }
}
