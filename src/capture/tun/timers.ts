/**
 * The flows' timers: a coarse wheel, because every timer of a flow may be late by a tick.
 *
 * A flow is entered for a time, and stays there when it asks for a later one. When the first time
 * comes, it is entered again for the later one. So a busy flow, whose timer moves with each
 * segment, costs nothing here. Time is passed in.
 */

const TICK_MS = 50;

export interface Timed {
  /**
   * When the timer is really due, and when the wheel will look at it (0: it isn't entered).
   * Milliseconds.
   */
  dueAt: number;
  lookAt: number;
}

export class TimerWheel<Item extends Timed> {
  readonly #slots = new Map<number, Set<Item>>();
  #next = Number.POSITIVE_INFINITY;

  /** When `expire` next has something to do. Infinity: nothing to do until the next `arm`. */
  get deadline(): number {
    return this.#next;
  }

  arm(item: Item, at: number): void {
    item.dueAt = at;
    if (item.lookAt !== 0 && item.lookAt <= at + TICK_MS) return;
    this.#enter(item, at);
  }

  /** Stops the item's timer and removes the item. */
  forget(item: Item): void {
    const slot = this.#slots.get(item.lookAt);
    item.lookAt = 0;
    slot?.delete(item);
  }

  /** Calls `due` with each item whose time has come. */
  expire(now: number, due: (item: Item) => void): void {
    if (now < this.#next) return;
    const times = [...this.#slots.keys()].filter((time) => time <= now).sort((a, b) => a - b);
    for (const time of times) {
      const items = this.#slots.get(time) ?? new Set();
      this.#slots.delete(time);
      for (const item of items) {
        // An earlier call of `due` may have forgotten this item, or entered it again.
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
