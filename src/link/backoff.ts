/**
 * How long to wait before the jump host is dialled again. What matters is who is burdened by the
 * next attempt, and that depends on how the last one failed:
 *
 * | kind     | the last attempt                        | wait                                     |
 * |----------|-----------------------------------------|------------------------------------------|
 * | silent   | reached nobody: no answer, no route, no | 1-2 s; after 10 min of an outage 1-30 s  |
 * |          | such name                               |                                          |
 * | ordinary | was refused by the kernel there, was    | 1-30 s                                   |
 * |          | accepted and then not                   |                                          |
 * |          | attended to in time, or the link did    |                                          |
 * |          | not last                                |                                          |
 * | punished | took up sshd's time: closed before or   | 15 s - 10 min (MaxStartups,              |
 * |          | during authentication                   | PerSourcePenalties)                      |
 * | login    | was refused the login                   | 5.5-6.5 min: at most two within 10       |
 * |          |                                         | minutes                                  |
 *
 * The ceiling of `ordinary` and `punished` doubles with each such failure; the wait is drawn evenly
 * from between the floor and the ceiling ("full jitter"), so that the clients of a jump host that
 * comes back don't all knock at once.
 */
import type { ErrorCode } from '../errors/codes.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

/** A link that stood for so long had come about in earnest. */
export const LASTING_MS = 2_000;

export type FailureKind = 'silent' | 'ordinary' | 'punished' | 'login';

/** Milliseconds. */
export const WAITS = {
  silent: { floor: SECOND, ceiling: 2 * SECOND },
  ordinary: { floor: SECOND, ceiling: 30 * SECOND },
  /** sshd 9.8 and later: penalties are enforced from 15 s on, and last up to 10 minutes. */
  punished: { floor: 15 * SECOND, ceiling: 10 * MINUTE },
  login: { floor: 5.5 * MINUTE, ceiling: 6.5 * MINUTE },
} as const;

/** Nobody is burdened by attempts that reach nobody, but each wakes the machine. */
export const SILENT_EAGER_MS = 10 * MINUTE;

/** Of a TunnelError's code. undefined: trying again is of no use. */
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
      // openssh-failed: an ssh that ended for a reason that isn't known here, though it had
      // connected before.
      return code.startsWith('jumphost-') || code === 'openssh-failed' ? 'punished' : undefined;
  }
}

/** Seconds that a dial which is expected to be quick may take for TCP and key exchange. */
const SHORT_PATIENCE = 4;
/**
 * Of so many attempts one gets all the time that the user allows: the way may have become slower.
 */
const PATIENT_EVERY = 4;

/**
 * Seconds for TCP and key exchange, of `limit` (--connect-timeout) at most. `usual`: how long, in
 * ms, the last dial has taken that succeeded; undefined: there is none. Over a path that drops
 * everything the kernel repeats its SYN ever more seldom; short attempts see early that the path is
 * back.
 */
export function dialPatience(limit: number, attempt: number, usual: number | undefined): number {
  if (usual === undefined || attempt % PATIENT_EVERY === 0) return limit;
  return Math.min(limit, Math.max(SHORT_PATIENCE, (4 * usual) / SECOND));
}

export class Backoff {
  readonly #random: () => number;
  /** Failures of each kind since the last reset: each doubles the kind's ceiling. */
  readonly #failures = { ordinary: 0, punished: 0 };

  /** `random`: as Math.random. */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /**
   * Takes note of a failure. Returns the wait before the next attempt, in ms; `downFor`: ms since
   * the link was lost.
   */
  next(kind: FailureKind, downFor: number): number {
    const { floor, ceiling } = this.#range(kind, downFor);
    if (kind === 'ordinary' || kind === 'punished') this.#failures[kind]++;
    return floor + this.#random() * (ceiling - floor);
  }

  /**
   * Takes note that a link is lost which stood for `ms`. Returns the wait, in ms: none if it had
   * lasted. A server that lets us in and throws us out again is not to be hammered.
   */
  lost(ms: number): number {
    if (ms < LASTING_MS) return this.next('ordinary', 0);
    this.reset();
    return 0;
  }

  /** Begins anew: the link has held, or the network is another one. */
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
