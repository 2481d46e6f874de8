/**
 * A list in the order of adding, from which anything can be taken out at once: what a Set would be
 * for, where thousands of objects come and go in a second and each leads to many others.
 *
 * A Set that objects enter and leave gets a new table every so often, and the old table keeps
 * pointing to what was in it, and to the new one. When V8 has once moved such a table to the old
 * generation, it counts as alive until the next collection of the whole heap, and so does the next
 * table, and whatever is in that: every connection's objects then outlive it by far. Entries of
 * this list lose their links when they leave it.
 */
export class ListEntry<T> {
  readonly value: T;
  /** For LinkedList. */
  list: LinkedList<T> | undefined;
  previous: ListEntry<T> | undefined;
  next: ListEntry<T> | undefined;

  constructor(value: T) {
    this.value = value;
  }

  /** Whether it is in a list. */
  get isListed(): boolean {
    return this.list !== undefined;
  }
}

export class LinkedList<T> {
  #first: ListEntry<T> | undefined;
  #last: ListEntry<T> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The one that was added first. */
  get first(): T | undefined {
    return this.#first?.value;
  }

  /** All, in the order of adding, as they are now. */
  get values(): T[] {
    const values: T[] = [];
    for (let entry = this.#first; entry !== undefined; entry = entry.next) values.push(entry.value);
    return values;
  }

  /** Adds at the end an entry that is in no list. */
  add(entry: ListEntry<T>): void {
    entry.list = this;
    entry.previous = this.#last;
    if (this.#last === undefined) this.#first = entry;
    else this.#last.next = entry;
    this.#last = entry;
    this.#size++;
  }

  /** Returns whether it was here. */
  delete(entry: ListEntry<T>): boolean {
    if (entry.list !== this) return false;
    const { previous, next } = entry;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    entry.list = undefined;
    entry.previous = undefined;
    entry.next = undefined;
    this.#size--;
    return true;
  }
}
