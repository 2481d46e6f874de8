/**
 * A map with a limit: beyond it, the least recently used entry is evicted.
 *
 * `set` and `get` make an entry the most recently used; `peek` doesn't. If only `peek` is used, the
 * entry that was set longest ago is evicted.
 */

export interface LruMapOptions<K, V> {
  /** The most entries. */
  readonly limit: number;
  /** The most that all values together may weigh, and the weight of each, which must not change. */
  readonly weight?: { readonly limit: number; readonly of: (value: V) => number };
  /** Called for each evicted entry, after its removal. */
  readonly evicted?: (value: V, key: K) => void;
}

export class LruMap<K, V extends NonNullable<unknown>> {
  readonly #options: LruMapOptions<K, V>;
  /** The least recently used entry comes first. */
  readonly #entries = new Map<K, V>();
  #weight = 0;

  constructor(options: LruMapOptions<K, V>) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Finds a value and makes its entry the most recently used. */
  get(key: K): V | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    return value;
  }

  /** Finds a value without changing the order. */
  peek(key: K): V | undefined {
    return this.#entries.get(key);
  }

  /**
   * Adds a value as the most recently used. A value that alone exceeds the weight limit is evicted
   * at once, and all others with it.
   */
  set(key: K, value: V): void {
    const { limit, weight } = this.#options;
    this.delete(key);
    this.#entries.set(key, value);
    if (weight !== undefined) this.#weight += weight.of(value);
    while (this.#entries.size > limit || (weight !== undefined && this.#weight > weight.limit))
      this.#evict();
  }

  /** Returns whether the key was there. */
  delete(key: K): boolean {
    const { weight } = this.#options;
    if (weight !== undefined) {
      const value = this.#entries.get(key);
      if (value !== undefined) this.#weight -= weight.of(value);
    }
    return this.#entries.delete(key);
  }

  /**
   * The least recently used entry comes first. The current entry may be deleted while iterating.
   */
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
