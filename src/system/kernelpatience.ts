/**
 * Whether the kernel may be asked a question now that has failed before. Where it can't answer at
 * all, it is not asked any more. What fails for the moment, as without descriptors or memory, is
 * asked once more at once, and after that again when a pause is over.
 *
 *   asking ── it can't (UNABLE, no native part) ──────────────────► never
 *     │  ▲  └─ a failure ──► asked again ── another one ──► pausing
 *     │  └─ an answer ─────────┘                              │  PAUSE_MS, each time twice as long,
 *     └◄─────────────────────── the pause is over ────────────┘  MAX_PAUSE_MS at the most
 *
 * So a failure costs two questions, and one that lasts costs one for each pause. Each is counted.
 */
import { constants } from 'node:os';
import type { Observer } from '../observe/observer.ts';

/** Milliseconds. */
export const PAUSE_MS = 250;
export const MAX_PAUSE_MS = 60_000;
/** Failures in a row before there is a pause. */
const AT_ONCE = 2;

const { errno } = constants;
/** A kernel without it, an old one, and whoever forbids it (seccomp, SELinux). */
const UNABLE: ReadonlySet<unknown> = new Set([
  errno.EPERM,
  errno.EACCES,
  errno.EINVAL,
  errno.ENOSYS,
  errno.EOPNOTSUPP,
  errno.EPROTONOSUPPORT,
  errno.EAFNOSUPPORT,
]);

export class KernelPatience {
  readonly #observer: Observer;
  #failures = 0;
  /** By performance.now(); 0: at once. */
  #from = 0;

  constructor(observer: Observer) {
    this.#observer = observer;
  }

  mayAsk(): boolean {
    return this.#from === 0 || performance.now() >= this.#from;
  }

  answered(): void {
    this.#failures = 0;
    this.#from = 0;
  }

  /** `error`: as the native part throws it, with the number of the system's error. */
  failed(error: unknown): void {
    this.#observer.count('tunnel_socket_questions_failed_total');
    if (!isPassing(error)) {
      this.#from = Number.POSITIVE_INFINITY;
      return;
    }
    if (++this.#failures < AT_ONCE) return;
    const pause = PAUSE_MS * 2 ** (this.#failures - AT_ONCE);
    this.#from = performance.now() + Math.min(pause, MAX_PAUSE_MS);
  }
}

function isPassing(error: unknown): boolean {
  const number = error instanceof Error && 'errno' in error ? error.errno : undefined;
  return number !== undefined && !UNABLE.has(number);
}
