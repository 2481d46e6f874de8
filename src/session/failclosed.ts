/**
 * `--fail-closed`: whatever is captured stays unreachable when the tunnel ends in any other way
 * than by being stopped in order.
 *
 *   start()        unreachable routes beside the capture's own, of which the kernel prefers these;
 *                  routes that tunnels before have left are replaced or removed
 *   setPrefixes()  first the capture's routes, then these
 *   refresh()      something has changed: what must stay reachable past the tunnel is looked up
 *                  again, and what somebody has removed is put back
 *   close()        after an orderly stop they are removed; else they stay, and that is said
 *
 * After `kill -9` nobody runs that could say or do anything: the routes are there already, and
 * nothing removes them until the next start, `tunnel clean`, or the end of the machine.
 *
 * Without the option only start() does something: it removes what others have left, once the
 * capture's own routes stand.
 */

import { reasonOf } from '../errors/reason.ts';
import type { RoutedPrefix } from '../net/prefix.ts';
import { formatPrefix } from '../net/prefix.ts';
import { PrefixMap } from '../net/prefixmap.ts';
import type { Observer } from '../observe/observer.ts';
import type { KernelRouting } from '../system/routing/kernel.ts';
import { isWithin } from '../system/routing/overrides.ts';
import { leftUnreachable, prefixesToClose } from '../system/routing/unreachable.ts';

/** Names in one message. */
const MAX_NAMED = 8;

interface RoutedCapture {
  readonly deviceName: string | undefined;
  setPrefixes(prefixes: readonly RoutedPrefix[]): Promise<void>;
}

export interface FailClosedParts {
  readonly capture: RoutedCapture;
  /** Of the helper. */
  setUnreachable(prefixes: readonly RoutedPrefix[]): Promise<void>;
  readonly routing: Pick<KernelRouting, 'routes'>;
  /** --fail-closed */
  readonly enabled: boolean;
  /** What the capture routes besides. */
  readonly alsoRouted: readonly RoutedPrefix[];
  /** Addresses that the tunnel itself reaches past its own routes, as they are now. */
  readonly past: () => readonly string[];
  /** Whether the run ends because it was asked to. */
  readonly inOrder: () => boolean;
  /** What stays unreachable, as the user has named it. */
  readonly named: () => readonly string[];
  readonly observer: Observer;
}

export class FailClosed implements RoutedCapture {
  readonly #parts: FailClosedParts;
  #routed: readonly RoutedPrefix[] = [];
  /** Narrower routes to the device: an unreachable route must not be more specific than these. */
  #narrower: readonly RoutedPrefix[] = [];
  #standing = false;
  #closed = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: FailClosedParts) {
    this.#parts = parts;
  }

  get deviceName(): string | undefined {
    return this.#parts.capture.deviceName;
  }

  /** As the capture's. */
  async setPrefixes(prefixes: readonly RoutedPrefix[]): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#standing && !this.#closed) return this.#apply(prefixes);
      await this.#parts.capture.setPrefixes(prefixes);
      this.#routed = prefixes;
    });
  }

  /** `captured`: what the capture has just begun with. Rejects as the helper does. */
  async start(captured: readonly RoutedPrefix[]): Promise<void> {
    await this.#inTurn(async () => {
      const { enabled, routing, setUnreachable } = this.#parts;
      this.#routed = captured;
      if (enabled) {
        this.#standing = true;
        await this.#apply(captured);
      } else if (leftUnreachable(routing).length > 0) {
        await setUnreachable([]);
      }
    });
  }

  /** Never rejects. */
  refresh(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#standing && !this.#closed) await this.#apply(this.#routed);
    }).catch((error: unknown) => {
      if (!this.#closed)
        this.#parts.observer.log(
          'warning',
          `what fails closed is not up to date: ${reasonOf(error)}`,
        );
    });
  }

  /** Rejects as the helper does, when the routes of an orderly stop can't be removed. */
  async close(): Promise<void> {
    this.#closed = true;
    const { inOrder, named, observer, setUnreachable } = this.#parts;
    await this.#last;
    if (!this.#standing) return;
    if (inOrder()) await setUnreachable([]);
    else observer.log('warning', `${named().join(', ')} stays unreachable: tunnel clean`);
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {}); // the caller gets the error
    return done;
  }

  async #apply(routed: readonly RoutedPrefix[]): Promise<void> {
    const { alsoRouted, capture, past, routing, setUnreachable } = this.#parts;
    const known = new Set([...routed, ...alsoRouted].map(formatPrefix));
    const closed = prefixesToClose([...routed, ...alsoRouted], past(), routing);
    const narrower = closed.filter((prefix) => !known.has(formatPrefix(prefix)));
    // The helper permits nothing inside a network that is left out from now on.
    const captured = new PrefixMap([...routed, ...alsoRouted].map((one) => [one, true] as const));
    const before = this.#narrower.filter((prefix) => isWithin(captured, prefix));
    if (routed !== this.#routed || narrower.length > 0)
      await capture.setPrefixes([...routed, ...before, ...narrower]);
    await setUnreachable(closed);
    if (before.length > 0) await capture.setPrefixes([...routed, ...narrower]);
    this.#routed = routed;
    this.#narrower = narrower;
  }
}

/**
 * Routes can't keep names: without the tunnel this machine's resolvers answer for them, perhaps
 * with addresses that are reachable.
 */
export function warnOfNames(names: readonly string[], observer: Observer): void {
  if (names.length === 0) return;
  const some = names.slice(0, MAX_NAMED).join(', ') + (names.length > MAX_NAMED ? ', ...' : '');
  observer.log(
    'warning',
    `--fail-closed holds for addresses, not for names: once the tunnel is gone, this machine's resolvers answer for ${some} again`,
    { hint: 'add the addresses that these names have elsewhere to the targets' },
  );
}

/** Says what a tunnel that was killed has left, before it is undone by this start. */
export function reportLeftUnreachable(
  routing: Pick<KernelRouting, 'routes'>,
  observer: Observer,
): void {
  const left = leftUnreachable(routing);
  if (left.length === 0) return;
  const [first] = left.map(formatPrefix);
  const what = left.length > 1 ? `${first} and ${left.length - 1} more are` : `${first} is`;
  observer.log(
    'notice',
    `left by a tunnel with --fail-closed: ${what} unreachable until this one is ready`,
    { hint: 'if the jump host can\'t be reached because of that, run "tunnel clean"' },
  );
}
