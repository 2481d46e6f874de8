/**
 * Tells that connections wait because opens to silent destinations hold the places for new ones:
 * once at its beginning, with who holds them, and again only after a quiet time.
 */
import type { Observer } from '../observe/observer.ts';
import type { OpenPlaces } from './openplaces.ts';
import { formatPrefix, formatSource } from './opensources.ts';

/** How long somebody has to wait for it. */
export const STALLED_MS = 1_000;
/** After this time without, the next stall is told, too. */
export const QUIET_MS = 60_000;

export class OpenStall {
  readonly #observer: Observer;
  /** When somebody last waited so long. */
  #last = Number.NEGATIVE_INFINITY;

  constructor(observer: Observer) {
    this.#observer = observer;
  }

  /** Some wait: `longest` for how long, in milliseconds. */
  look(places: OpenPlaces, longest: number, waiting: number, now: number): void {
    if (longest < STALLED_MS || places.silent === 0) return;
    const isNew = now - this.#last >= QUIET_MS;
    this.#last = now;
    if (!isNew) return;
    this.#observer.count('tunnel_opens_stalls_total');
    const wait = waiting === 1 ? 'a connection waits' : `${waiting} connections wait`;
    this.#observer.log(
      'warning',
      `${wait} to be opened: ${this.describe(places)}; others and destinations that have answered lately go on`,
    );
  }

  /** Who holds the places, for messages. */
  describe(places: OpenPlaces): string {
    const sources = new Map<string, number>();
    const prefixes = new Map<string, number>();
    for (const { groups } of places.taken) {
      count(sources, formatSource(groups));
      count(prefixes, formatPrefix(groups));
    }
    if (places.total === 0) return 'nothing holds the places any more';
    return `${places.total} opens that the jump host has not answered hold the places, ${most(sources)} of them for ${name(sources)}, ${most(prefixes)} to ${name(prefixes)}`;
  }
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function most(counts: ReadonlyMap<string, number>): number {
  return Math.max(...counts.values());
}

function name(counts: ReadonlyMap<string, number>): string {
  const highest = most(counts);
  return [...counts].find(([, held]) => held === highest)?.[0] ?? '';
}
