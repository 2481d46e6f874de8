/**
 * How long to wait before the jump host is dialled again. That depends on whom the next attempt
 * would burden, which shows in how the last one failed, and on whether a connection waits for it:
 *
 * | kind         | the last attempt                    | wait              | while one waits      |
 * |--------------|-------------------------------------|-------------------|----------------------|
 * | silent       | reached nobody: no answer, no       | 1-2 s; after 10   | 1-2 s                |
 * |              | route, no such name                 | min 1-30 s        |                      |
 * | refused      | was refused by the kernel there     | 1-30 s, near the  | 0.25-0.5 s, after    |
 * |              |                                     | outage so far     | ten times 2-3 s      |
 * | dropped      | was let in, and the link did not    | 1-30 s            | 0.5-1 s once, then   |
 * |              | last; after 3-30 s it is at once    |                   | 3 s between attempts |
 * |              | the first time and while one waits  |                   |                      |
 * | unidentified | was closed before anything was said | 1-30 s            | 1-2 s                |
 * |              | about SSH                           |                   |                      |
 * | slow         | was accepted but not served in time | 1-30 s            | the same             |
 * | punished     | took up sshd's time: closed before  | 15 s - 10 min     | the same             |
 * |              | or during authentication            |                   |                      |
 * |              | (MaxStartups, PerSourcePenalties)   |                   |                      |
 * | login        | was refused the login               | 5.5-6.5 min: at   | the same             |
 * |              |                                     | most two within   |                      |
 * |              |                                     | 10 minutes        |                      |
 * | unanswered   | asked something, and nobody was     | as for login; none | the same            |
 * |              | there or nobody answered            | once a user asks  |                      |
 * |              |                                     | for a new link    |                      |
 *
 * The ceiling of a wait up to 30 s or 10 min doubles with each such failure. The wait is drawn
 * evenly from between the floor and the ceiling ("full jitter"), so that not all clients of a jump
 * host dial at the same moment when it comes back.
 *
 * A balancer without a working server behind it closes a connection as an sshd does that shuts an
 * address out without a word. So once the jump host has been seen to punish or to refuse a login,
 * `unidentified` counts as `punished`.
 */
import type { ErrorCode } from '../errors/codes.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

/** A link that lasted this long really worked; a shorter one counts as a failed dial. */
export const LASTING_MS = 3_000;
/**
 * One that is lost before this is dialled again at once while a connection waits. Otherwise only
 * the first time: a server that ends each link after some seconds is not to be dialled for ever.
 */
export const SETTLED_MS = 30_000;

export type FailureKind =
  | 'silent'
  | 'refused'
  | 'dropped'
  | 'unidentified'
  | 'slow'
  | 'punished'
  | 'login'
  | 'unanswered';

interface Range {
  readonly floor: number;
  readonly ceiling: number;
}

const ORDINARY = { floor: SECOND, ceiling: 30 * SECOND } as const;

/** Milliseconds, while nobody waits. */
export const WAITS = {
  silent: { floor: SECOND, ceiling: 2 * SECOND },
  refused: ORDINARY,
  dropped: ORDINARY,
  unidentified: ORDINARY,
  slow: ORDINARY,
  /** sshd 9.8 and later enforces penalties from 15 s on; they last up to 10 minutes. */
  punished: { floor: 15 * SECOND, ceiling: 10 * MINUTE },
  login: { floor: 5.5 * MINUTE, ceiling: 6.5 * MINUTE },
  /** For sshd, a login that ends in the middle is a failed one. */
  unanswered: { floor: 5.5 * MINUTE, ceiling: 6.5 * MINUTE },
} as const satisfies Record<FailureKind, Range>;

/** Milliseconds, while a connection waits: for those who would not be burdened. */
export const EAGER_WAITS = {
  silent: { floor: SECOND, ceiling: 2 * SECOND },
  refused: { floor: SECOND / 4, ceiling: SECOND / 2 },
  /** After EAGER_TRIES. */
  stillRefused: { floor: 2 * SECOND, ceiling: 3 * SECOND },
  dropped: { floor: SECOND / 2, ceiling: SECOND },
  unidentified: { floor: SECOND, ceiling: 2 * SECOND },
} as const satisfies Record<string, Range>;

/** A restart of sshd takes a second or two. What is refused for longer will be for a while. */
export const EAGER_TRIES = 10;
/** Between two logins at a server that lets us in and throws us out. Milliseconds. */
export const LOGIN_SPACING_MS = 3 * SECOND;

/** Attempts that reach nobody burden nobody, but each wakes this machine. */
export const SILENT_EAGER_MS = 10 * MINUTE;

/** The kind of a TunnelError's code. undefined: trying again is of no use. */
export function failureKind(code: ErrorCode): FailureKind | undefined {
  switch (code) {
    case 'jumphost-timeout':
    case 'jumphost-unreachable':
    case 'jumphost-dns':
    case 'system-limit': // it was not dialled
      return 'silent';
    case 'jumphost-refused':
      return 'refused';
    case 'jumphost-no-identification':
      return 'unidentified';
    case 'jumphost-slow':
      return 'slow';
    case 'auth-failed':
    case 'auth-timeout':
      return 'login';
    case 'no-terminal':
    case 'auth-cancelled':
      return 'unanswered';
    default:
      // openssh-failed: an ssh that had connected before ended for a reason that isn't known here.
      return code.startsWith('jumphost-') || code === 'openssh-failed' ? 'punished' : undefined;
  }
}

/** The jump host was reached, and only the login is missing. */
export function isAboutLogin(kind: FailureKind): kind is 'login' | 'unanswered' {
  return kind === 'login' || kind === 'unanswered';
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

/** Milliseconds before the next attempt. */
export interface Waits {
  /** While nobody waits for it. */
  readonly patient: number;
  /** While a connection waits; never longer. */
  readonly eager: number;
}

export class Backoff {
  readonly #random: () => number;
  /** Failures since the last reset: each doubles the ceiling of its row. */
  readonly #failures = { ordinary: 0, punished: 0 };
  /** Refusals by the kernel since a dial has succeeded. */
  #refusals = 0;
  /** Links that did not last, since the last reset. */
  #dropped = 0;
  /** The jump host has been seen to punish or to refuse a login. */
  #punishes = false;

  /** `random`: like Math.random. */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Records a failed dial. `downFor`: ms since the link was lost. */
  failed(kind: FailureKind, downFor: number): Waits {
    if (kind === 'punished' || isAboutLogin(kind)) this.#punishes = true;
    const effective = kind === 'unidentified' && this.#punishes ? 'punished' : kind;
    const patient = this.#draw(this.#patientRange(effective, downFor));
    const range = this.#eagerRange(effective);
    if (effective === 'refused') this.#refusals++;
    if (effective === 'punished') this.#failures.punished++;
    else if (effective !== 'silent' && !isAboutLogin(effective)) this.#failures.ordinary++;
    return { patient, eager: range === undefined ? patient : Math.min(patient, this.#draw(range)) };
  }

  /**
   * Records the loss of a link that was up for `ms`. Both waits are 0 if it was settled. A server
   * that lets us in and throws us out again must not be hammered.
   */
  lost(ms: number): Waits {
    if (ms >= SETTLED_MS) {
      this.reset();
      return { patient: 0, eager: 0 };
    }
    const first = this.#dropped++ === 0;
    if (ms >= LASTING_MS) {
      if (!first) return { patient: this.failed('dropped', 0).patient, eager: 0 };
      this.#forgetFailures();
      return { patient: 0, eager: 0 };
    }
    const { patient, eager } = this.failed('dropped', 0);
    if (first) return { patient, eager };
    const spaced = Math.max(eager, LOGIN_SPACING_MS - ms);
    return { patient: Math.max(patient, spaced), eager: spaced };
  }

  /** A dial has succeeded. Whether the link lasts will be seen. */
  succeeded(): void {
    this.#refusals = 0;
  }

  /** Starts again from the lowest ceilings: the link has lasted, or the network has changed. */
  reset(): void {
    this.#dropped = 0;
    this.#forgetFailures();
  }

  #forgetFailures(): void {
    this.#failures.ordinary = 0;
    this.#failures.punished = 0;
  }

  #draw({ floor, ceiling }: Range): number {
    return floor + this.#random() * (ceiling - floor);
  }

  #patientRange(kind: FailureKind, downFor: number): Range {
    if (isAboutLogin(kind)) return WAITS[kind];
    if (kind === 'silent') return downFor < SILENT_EAGER_MS ? WAITS.silent : ORDINARY;
    const { floor } = WAITS[kind];
    const failures = kind === 'punished' ? this.#failures.punished : this.#failures.ordinary;
    const outage = kind === 'refused' ? 2 * floor + downFor : Number.POSITIVE_INFINITY;
    return { floor, ceiling: Math.min(WAITS[kind].ceiling, floor * 2 ** (failures + 1), outage) };
  }

  /** undefined: the same as without anybody. */
  #eagerRange(kind: FailureKind): Range | undefined {
    if (kind === 'refused' && this.#refusals >= EAGER_TRIES) return EAGER_WAITS.stillRefused;
    return kind === 'slow' || kind === 'punished' || isAboutLogin(kind)
      ? undefined
      : EAGER_WAITS[kind];
  }
}
