/**
 * A map from name patterns to values. A name finds all patterns that match it, the most specific
 * first.
 */
import type { NamePattern } from './name.ts';

/** A pattern that matches, and its values in the order given. */
export interface NameMatch<T> {
  readonly pattern: NamePattern;
  readonly values: readonly T[];
}

interface Entry<T> {
  readonly pattern: NamePattern;
  readonly values: T[];
}

export class NameMap<T> {
  readonly #exact = new Map<string, Entry<T>>();
  /** Patterns with `below`, by their name. */
  readonly #below = new Map<string, Entry<T>>();

  constructor(entries: Iterable<readonly [NamePattern, T]>) {
    for (const [pattern, value] of entries) {
      const map = pattern.below ? this.#below : this.#exact;
      const entry = map.get(pattern.name);
      if (entry === undefined) map.set(pattern.name, { pattern, values: [value] });
      else entry.values.push(value);
    }
  }

  /**
   * Takes a canonical name. Costs one look-up for each of its labels, however many patterns there
   * are.
   */
  find(name: string): NameMatch<T>[] {
    const matches: NameMatch<T>[] = [];
    const exact = this.#exact.get(name);
    if (exact !== undefined) matches.push(exact);
    if (this.#below.size === 0) return matches;
    for (let dot = name.indexOf('.'); dot !== -1; dot = name.indexOf('.', dot + 1)) {
      const entry = this.#below.get(name.slice(dot + 1));
      if (entry !== undefined) matches.push(entry);
    }
    return matches;
  }
}
