/**
 * Arithmetic on sets of prefixes. cidr-tools does the set operations. This file adds types, the
 * order (IPv4 first, then ascending), and a membership test that is fast enough for every
 * connection.
 *
 * A result is always the smallest list of prefixes for its set: adjacent ones are merged, none
 * overlap.
 */
import { excludeCidr, mergeCidr } from 'cidr-tools';
import { addressFromNumber, addressNumber, type Family, family } from './address.ts';
import { type Prefix, prefixBounds, prefixNotation } from './prefix.ts';

/** The union, as the smallest sorted list. */
export function mergePrefixes(prefixes: readonly Prefix[]): Prefix[] {
  return mergeCidr(prefixes.map(prefixNotation)).map(fromNotation).sort(comparePrefixes);
}

/** The addresses in `from` that are not in `what`, as the smallest sorted list. */
export function subtractPrefixes(from: readonly Prefix[], what: readonly Prefix[]): Prefix[] {
  return excludeCidr(from.map(prefixNotation), what.map(prefixNotation))
    .map(fromNotation)
    .sort(comparePrefixes);
}

/** IPv4 before IPv6, then lower addresses first, then the wider prefix first. */
export function comparePrefixes(a: Prefix, b: Prefix): number {
  if (a.family !== b.family) return a.family - b.family;
  const [first, second] = [addressNumber(a.address), addressNumber(b.address)];
  if (first !== second) return first < second ? -1 : 1;
  return a.length - b.length;
}

function fromNotation(text: string): Prefix {
  const slash = text.lastIndexOf('/');
  const address = text.slice(0, slash);
  const of = family(address);
  return {
    family: of,
    address: addressFromNumber(addressNumber(address), of),
    length: Number(text.slice(slash + 1)),
  };
}

/** Ascending, disjoint: firsts[i] <= lasts[i] < firsts[i + 1]. */
interface Ranges {
  readonly firsts: readonly bigint[];
  readonly lasts: readonly bigint[];
}

/** An immutable set of addresses. */
export class PrefixSet {
  /** The smallest sorted list of prefixes for this set. */
  readonly prefixes: readonly Prefix[];
  readonly #ranges: Readonly<Record<Family, Ranges>>;

  constructor(prefixes: readonly Prefix[]) {
    this.prefixes = mergePrefixes(prefixes);
    this.#ranges = { 4: rangesOf(this.prefixes, 4), 6: rangesOf(this.prefixes, 6) };
  }

  /** Takes a canonical address. Logarithmic in the number of prefixes. */
  contains(address: string): boolean {
    const { firsts, lasts } = this.#ranges[family(address)];
    const value = addressNumber(address);
    const last = lasts[lastNotAbove(firsts, value)];
    return last !== undefined && value <= last;
  }
}

function rangesOf(prefixes: readonly Prefix[], of: Family): Ranges {
  const bounds = prefixes.filter((prefix) => prefix.family === of).map(prefixBounds);
  return { firsts: bounds.map(({ first }) => first), lasts: bounds.map(({ last }) => last) };
}

/**
 * The index of the greatest element of an ascending array that is not above `value`; -1 if all are
 * above it.
 */
export function lastNotAbove(ascending: readonly bigint[], value: bigint): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const candidate = ascending[middle];
    if (candidate !== undefined && candidate <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
