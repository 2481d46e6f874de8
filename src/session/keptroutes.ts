/**
 * What a reload no longer captures, but connections live in: their packets must go on coming to the
 * device. Without its route the kernel would send them to whatever answers elsewhere, in clear.
 *
 *   hold()     before the rules change: all that is captured stays so
 *   settle()   after it: of what is no longer asked for, only the addresses that connections go to;
 *              the rest is withdrawn
 *   every SWEEP_MS  while there are any: those whose connections have ended are withdrawn
 *
 * A new connection to such an address still comes to the device. It is no target any more, so it
 * goes past the tunnel from there, as one to a port that is excluded does. Other UDP to it is
 * refused until then. One that begins in the moment of a withdrawal is found by the look after
 * that, and its address is kept as well.
 *
 * Limit: MAX_KEPT addresses. Beyond it what was captured stays so as a whole, until fewer are left.
 */
import type { Clock, ClockTimer } from '../base/clock.ts';
import { reasonOf } from '../errors/reason.ts';
import { hostPrefix, type Prefix } from '../net/prefix.ts';
import { PrefixSet } from '../net/prefixset.ts';
import type { Observer } from '../observe/observer.ts';
import type { CapturedPrefixes } from '../policy/captured.ts';

export const MAX_KEPT = 1024;
export const SWEEP_MS = 1000;
/** Looks after a withdrawal, each of which may find a connection that has just begun. */
const MAX_ROUNDS = 3;

export interface KeptRoutesParts {
  readonly captured: Pick<CapturedPrefixes, 'asked' | 'current' | 'refresh'>;
  /** Canonical addresses that connections of the device go to. */
  readonly destinations: () => ReadonlySet<string>;
  readonly clock: Clock;
  readonly observer: Observer;
}

export class KeptRoutes {
  readonly #parts: KeptRoutesParts;
  #prefixes: readonly Prefix[] = [];
  #timer: ClockTimer | undefined;
  #last: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(parts: KeptRoutesParts) {
    this.#parts = parts;
  }

  /** For CaptureRules. */
  get prefixes(): readonly Prefix[] {
    return this.#prefixes;
  }

  /** The caller applies the rules after it. */
  hold(): void {
    this.#prefixes = this.#parts.captured.current;
  }

  /** Never rejects: what can't be withdrawn now is at the next look. */
  settle(): Promise<void> {
    this.#last = this.#last.then(() => this.#settle());
    return this.#last;
  }

  /** Withdraws nothing more. Resolves when nothing is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#last;
  }

  async #settle(): Promise<void> {
    const { captured, clock, observer } = this.#parts;
    this.#timer?.cancel();
    try {
      const before = new PrefixSet(this.#prefixes);
      for (let round = 0; round < MAX_ROUNDS && !this.#closed; round++) {
        const wanted = this.#live(before);
        if (wanted.length > MAX_KEPT) {
          observer.count('tunnel_reload_kept_over_limit_total');
          break;
        }
        if (same(wanted, this.#prefixes)) break;
        this.#prefixes = wanted;
        await captured.refresh();
      }
    } catch (error) {
      if (!this.#closed)
        observer.log('warning', `routes of former targets can't be removed: ${reasonOf(error)}`);
    }
    if (this.#prefixes.length > 0 && !this.#closed)
      this.#timer = clock.after(SWEEP_MS, () => void this.settle());
  }

  /** Of what was kept, the addresses that are not asked for and have connections. */
  #live(before: PrefixSet): Prefix[] {
    const { captured, destinations } = this.#parts;
    const asked = new PrefixSet(captured.asked);
    return [...destinations()]
      .filter((address) => before.contains(address) && !asked.contains(address))
      .sort()
      .map(hostPrefix);
  }
}

function same(a: readonly Prefix[], b: readonly Prefix[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ address, length }, i) => {
      const other = b[i];
      return other?.address === address && other.length === length;
    })
  );
}
