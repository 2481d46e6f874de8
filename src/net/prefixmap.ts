/**
 * A map from prefixes to values. An address finds every prefix that covers it, the most specific
 * first.
 *
 * Two prefixes are either nested or disjoint. So one sweep over the sorted prefixes, with a stack
 * of the open ones, cuts the address space into segments that each have one answer. Each segment
 * points to its most specific prefix, and each prefix to the next wider one. A look-up is a binary
 * search and a walk along that chain.
 */
import { addressNumber, type Family, family } from './address.ts';
import { type Prefix, prefixBounds } from './prefix.ts';
import { comparePrefixes, lastNotAbove } from './prefixset.ts';

/** A prefix and its values in the order given. */
export interface Covering<T> {
  readonly prefix: Prefix;
  readonly values: readonly T[];
  /** The next wider prefix of the map that covers this one. */
  readonly wider: Covering<T> | undefined;
}

interface Segments<T> {
  readonly firsts: bigint[];
  /** The prefix that covers the segment from `firsts[i]`; undefined: none. */
  readonly coverings: (Covering<T> | undefined)[];
}

interface Open<T> {
  readonly covering: Covering<T>;
  readonly values: T[];
  readonly last: bigint;
}

export class PrefixMap<T> {
  readonly #segments: Readonly<Record<Family, Segments<T>>>;

  constructor(entries: Iterable<readonly [Prefix, T]>) {
    const sorted = [...entries].sort(([a], [b]) => comparePrefixes(a, b));
    this.#segments = {
      4: sweep(sorted.filter(([prefix]) => prefix.family === 4)),
      6: sweep(sorted.filter(([prefix]) => prefix.family === 6)),
    };
  }

  /** Takes a canonical address; undefined: no prefix covers it. */
  find(address: string): Covering<T> | undefined {
    const { firsts, coverings } = this.#segments[family(address)];
    if (firsts.length === 0) return undefined;
    return coverings[lastNotAbove(firsts, addressNumber(address))];
  }
}

function sweep<T>(sorted: readonly (readonly [Prefix, T])[]): Segments<T> {
  const segments: Segments<T> = { firsts: [], coverings: [] };
  const stack: Open<T>[] = [];
  for (const [prefix, value] of sorted) {
    const { first, last } = prefixBounds(prefix);
    closeBefore(first, stack, segments);
    const top = stack.at(-1);
    if (top !== undefined && top.covering.prefix.length === prefix.length) {
      // The open prefix covers `first`; with the same length it is the same prefix.
      top.values.push(value);
      continue;
    }
    const values = [value];
    const covering: Covering<T> = { prefix, values, wider: top?.covering };
    begin(segments, first, covering);
    stack.push({ covering, values, last });
  }
  closeBefore(undefined, stack, segments);
  return segments;
}

/** Closes the prefixes that end before `next` (undefined: all of them). */
function closeBefore<T>(next: bigint | undefined, stack: Open<T>[], segments: Segments<T>): void {
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    if (next !== undefined && top.last >= next) return;
    stack.pop();
    begin(segments, top.last + 1n, top.covering.wider);
  }
}

/**
 * Of several segments with the same first address the search finds the last; the others are empty.
 */
function begin<T>(segments: Segments<T>, first: bigint, covering: Covering<T> | undefined): void {
  segments.firsts.push(first);
  segments.coverings.push(covering);
}
