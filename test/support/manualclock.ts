/** A clock that a test moves: timers fire when it is advanced past them, in their order. */
import type { Clock, ClockTimer } from '../../src/base/clock.ts';

export class ManualClock implements Clock {
  #now = 1000;
  readonly #timers = new Set<{ readonly at: number; readonly fire: () => void }>();

  now(): number {
    return this.#now;
  }

  after(milliseconds: number, fire: () => void): ClockTimer {
    const timer = { at: this.#now + milliseconds, fire };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  /** Timers that are set. */
  get timers(): number {
    return this.#timers.size;
  }

  /** Goes forward; whatever a timer causes in the same turn is done before the next one fires. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.fire();
      await turns();
    }
    this.#now = end;
    await turns();
  }
}

/** Lets everything run that is ready to. */
export async function turns(count = 5): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}
