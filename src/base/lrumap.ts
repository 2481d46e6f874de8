/**
 * A map with a limit: when it is reached, the entry that was used longest ago goes.
 *
 * `set` makes an entry the one used last. `get` does so too, `peek` doesn't: where only `peek` is
 * called, the entry that was set longest ago goes.
 */

export interface LruMapOptions<K, V> {
  /** Entries. */
  readonly limit: number;
  /** What all values together may weigh, and what each does; its weight must not change. */
  readonly weight?: { readonly limit: number; readonly of: (value: V) => number };
  /** Called for each entry that goes because of a limit, after it has gone. */
  readonly evicted?: (value: V, key: K) => void;
}

export class LruMap<K, V extends NonNullable<unknown>> {
  readonly #options: LruMapOptions<K, V>;
  /** What was used longest ago comes first. */
  readonly #entries = new Map<K, V>();
  #weight = 0;

  constructor(options: LruMapOptions<K, V>) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Finds a value and makes it the one used last. */
  get(key: K): V | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    return value;
  }

  /** Finds a value and leaves it in its place. */
  peek(key: K): V | undefined {
    return this.#entries.get(key);
  }

  /**
   * Puts a value in, as the one used last. A value that is heavier than the limit allows goes at
   * once, and takes all others with it.
   */
  set(key: K, value: V): void {
    const { limit, weight } = this.#options;
    this.delete(key);
    this.#entries.set(key, value);
    if (weight !== undefined) this.#weight += weight.of(value);
    while (this.#entries.size > limit || (weight !== undefined && this.#weight > weight.limit))
      this.#evict();
  }

  /** Whether it was there. */
  delete(key: K): boolean {
    const { weight } = this.#options;
    if (weight !== undefined) {
      const value = this.#entries.get(key);
      if (value !== undefined) this.#weight -= weight.of(value);
    }
    return this.#entries.delete(key);
  }

  /** What was used longest ago comes first. What is called for each may delete it. */
  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.#entries.entries();
  }

  #evict(): void {
    for (const [key, value] of this.#entries) {
      this.delete(key);
      this.#options.evicted?.(value, key);
      return;
    }
  }
}
