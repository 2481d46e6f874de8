/** What a run waits for now, for whoever shows it while it lasts. */
import type { Wait } from './observer.ts';

export class Waits {
  readonly #all = new Set<Wait>();
  #changed: () => void = () => {};

  /** Returns what ends it, which may be called more than once. */
  begin(wait: Wait): () => void {
    this.#all.add(wait);
    this.#changed();
    return () => {
      if (this.#all.delete(wait)) this.#changed();
    };
  }

  /** Those of now, each as it follows "waiting". */
  get texts(): readonly string[] {
    return [...this.#all].map(({ what }) => what()).filter((text) => text !== undefined);
  }

  /** Whether another program may be asking at the terminal. */
  get mayAsk(): boolean {
    return [...this.#all].some((wait) => wait.mayAsk?.() === true);
  }

  /** Who is told, at once, when a wait begins or ends. One at a time. */
  onChange(changed: () => void): void {
    this.#changed = changed;
  }
}
