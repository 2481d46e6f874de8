/**
 * Routes that win over somebody else's inside what is captured: its two halves, which are more
 * specific whatever its metric; for a single address, a route that the helper prefers to it.
 *
 * Whoever answers an override with a still more specific route is overridden again, MAX_LEVELS
 * times. An override stays for as long as its addresses are captured, so a route that comes and
 * goes is overridden once.
 */
import { ADDRESS_BITS } from '../../net/address.ts';
import {
  formatPrefix,
  type Prefix,
  prefixAround,
  prefixBounds,
  prefixContains,
  type RoutedPrefix,
} from '../../net/prefix.ts';
import { PrefixMap } from '../../net/prefixmap.ts';
import { subtractPrefixes } from '../../net/prefixset.ts';

export const MAX_LEVELS = 3;
/** Routes of others that are overridden at a time. */
export const MAX_OVERRIDES = 1024;

interface Override {
  readonly source: Prefix;
  readonly level: number;
  readonly routes: readonly RoutedPrefix[];
}

export interface Surroundings {
  /** Prefixes that have a route of somebody else's. */
  readonly occupied: readonly Prefix[];
  /** Stay where they are. */
  readonly gateways: readonly Prefix[];
}

export class Overrides {
  readonly #made = new Map<string, Override>();

  /**
   * Takes routes that were found at the same time: one inside another is no answer to an override
   * of the other. Returns those that are overridden now; the rest have been too often already, or
   * there are too many.
   */
  add(sources: readonly Prefix[], surroundings: Surroundings): readonly Prefix[] {
    const taken = new Set(surroundings.occupied.map(formatPrefix));
    const levels = sources.map((source) => 1 + this.#levelOf(source));
    return sources.filter((source, i) => {
      const level = levels[i] ?? MAX_LEVELS;
      if (level > MAX_LEVELS || this.#made.size >= MAX_OVERRIDES) return false;
      return this.#make(source, level, taken, surroundings.gateways);
    });
  }

  #make(
    source: Prefix,
    level: number,
    taken: ReadonlySet<string>,
    gateways: readonly Prefix[],
  ): boolean {
    const key = formatPrefix(source);
    if (this.#made.has(key)) return false;
    const free = halvesOf(source).flatMap((half) => unoccupied(half, taken));
    const kept = gateways.filter((gateway) => prefixContains(source, gateway));
    // Without gateways nothing must be merged: two halves would become what they are to override.
    const routes = kept.length === 0 ? free : free.flatMap((one) => subtractPrefixes([one], kept));
    this.#made.set(key, { source, level, routes });
    return true;
  }

  /** Takes back what add() has just added. */
  remove(sources: readonly Prefix[]): void {
    for (const source of sources) this.#made.delete(formatPrefix(source));
  }

  /** Those within what is captured. */
  within(captured: readonly Prefix[]): RoutedPrefix[] {
    if (this.#made.size === 0) return [];
    const map = new PrefixMap(captured.map((prefix) => [prefix, true] as const));
    return [...this.#made.values()]
      .filter(({ source }) => isWithin(map, source))
      .flatMap(({ routes }) => routes);
  }

  /** Of the overrides that a route is within; 0: of none. */
  #levelOf(source: Prefix): number {
    let highest = 0;
    for (const { level, routes } of this.#made.values())
      if (level > highest && routes.some((route) => prefixContains(route, source))) highest = level;
    return highest;
  }
}

/** Whether one of the map's prefixes contains all of `prefix`. */
export function isWithin(map: PrefixMap<unknown>, prefix: Prefix): boolean {
  let covering = map.find(prefix.address);
  while (covering !== undefined && covering.prefix.length > prefix.length)
    covering = covering.wider;
  return covering !== undefined;
}

function halvesOf(prefix: Prefix): RoutedPrefix[] {
  const { family, length } = prefix;
  if (length === ADDRESS_BITS[family]) return [{ ...prefix, preferred: true }];
  const { first, last } = prefixBounds(prefix);
  return [first, last].map((number) => prefixAround(number, family, length + 1));
}

/** The same addresses by prefixes that nobody else has a route to, except single addresses. */
function unoccupied(prefix: RoutedPrefix, taken: ReadonlySet<string>): RoutedPrefix[] {
  if (prefix.preferred === true || !taken.has(formatPrefix(prefix))) return [prefix];
  return halvesOf(prefix).flatMap((half) => unoccupied(half, taken));
}
