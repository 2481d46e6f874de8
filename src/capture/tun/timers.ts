/**
 * When flows want to be looked at: a coarse wheel, since every timer of theirs may be late by a
 * tick.
 *
 * A flow is entered for a time and stays so when it asks for a later one: it is looked at, and
 * entered again. So a busy flow, whose timer moves with each segment, costs nothing here. Time is
 * passed in.
 */

const TICK_MS = 50;

export interface Timed {
  /**
   * When it really wants to be looked at, and when it will be (0: it isn't entered). Milliseconds.
   */
  dueAt: number;
  lookAt: number;
}

export class TimerWheel<Item extends Timed> {
  readonly #slots = new Map<number, Set<Item>>();
  #next = Number.POSITIVE_INFINITY;

  /** When `expire` has something to do; Infinity: not before another `arm`. */
  get deadline(): number {
    return this.#next;
  }

  arm(item: Item, at: number): void {
    item.dueAt = at;
    if (item.lookAt !== 0 && item.lookAt <= at + TICK_MS) return;
    this.#enter(item, at);
  }

  /** It is not to be looked at any more, and no longer kept here. */
  forget(item: Item): void {
    const slot = this.#slots.get(item.lookAt);
    item.lookAt = 0;
    slot?.delete(item);
  }

  /** Calls `due` with those whose time has come. */
  expire(now: number, due: (item: Item) => void): void {
    if (now < this.#next) return;
    const times = [...this.#slots.keys()].filter((time) => time <= now).sort((a, b) => a - b);
    for (const time of times) {
      const items = this.#slots.get(time) ?? new Set();
      this.#slots.delete(time);
      for (const item of items) {
        // What was called before may have forgotten it, or entered it again.
        if (item.lookAt !== time) continue;
        item.lookAt = 0;
        if (item.dueAt > now) this.#enter(item, item.dueAt);
        else due(item);
      }
    }
    this.#next = Math.min(...this.#slots.keys());
  }

  #enter(item: Item, at: number): void {
    this.forget(item);
    const time = Math.ceil(at / TICK_MS) * TICK_MS;
    item.lookAt = time;
    const slot = this.#slots.get(time);
    if (slot === undefined) this.#slots.set(time, new Set([item]));
    else slot.add(item);
    if (time < this.#next) this.#next = time;
  }
}
