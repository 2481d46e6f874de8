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

  /** False: it has been overridden too often, or there are too many. */
  add(source: Prefix, { occupied, gateways }: Surroundings): boolean {
    const key = formatPrefix(source);
    const level = 1 + Math.max(0, ...this.#around(source).map((override) => override.level));
    if (this.#made.has(key) || level > MAX_LEVELS || this.#made.size >= MAX_OVERRIDES) return false;
    const taken = new Set(occupied.map(formatPrefix));
    const free = halvesOf(source).flatMap((half) => unoccupied(half, taken));
    const kept = gateways.filter((gateway) => prefixContains(source, gateway));
    // Without gateways nothing must be merged: two halves would become what they are to override.
    const routes = kept.length === 0 ? free : free.flatMap((one) => subtractPrefixes([one], kept));
    this.#made.set(key, { source, level, routes });
    return true;
  }

  /** Takes back what add() has added last. */
  remove(source: Prefix): void {
    this.#made.delete(formatPrefix(source));
  }

  /** Those within what is captured. */
  within(captured: readonly Prefix[]): RoutedPrefix[] {
    if (this.#made.size === 0) return [];
    const map = new PrefixMap(captured.map((prefix) => [prefix, true] as const));
    return [...this.#made.values()]
      .filter(({ source }) => isWithin(map, source))
      .flatMap(({ routes }) => routes);
  }

  /** Overrides that another route would be within. */
  #around(source: Prefix): Override[] {
    return [...this.#made.values()].filter(({ routes }) =>
      routes.some((route) => prefixContains(route, source)),
    );
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
