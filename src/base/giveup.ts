/**
 * Whether somebody still waits for a connection. Each connection has one, and hardly any is ever
 * used. So this is only the necessary part of an AbortSignal. A real one is an EventTarget: making
 * it and listening to it takes longer than opening a channel.
 */

/**
 * The part of an AbortSignal that connections use. An AbortSignal may be passed wherever this is
 * expected.
 */
export interface GiveUpSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  throwIfAborted(): void;
  /**
   * Calls `listener` once, from within the call that aborts. Never calls it if the signal is
   * already aborted.
   */
  addEventListener(type: 'abort', listener: () => void, options: { readonly once: true }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

const NONE: readonly (() => void)[] = [];

export class GiveUp implements GiveUpSignal {
  #listeners: readonly (() => void)[] = NONE;
  #aborted = false;
  #reason: unknown;

  get aborted(): boolean {
    return this.#aborted;
  }

  get reason(): unknown {
    return this.#reason;
  }

  throwIfAborted(): void {
    if (this.#aborted) throw this.#reason;
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    if (!this.#aborted) this.#listeners = [...this.#listeners, listener];
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    const remaining = this.#listeners.filter((known) => known !== listener);
    this.#listeners = remaining.length === 0 ? NONE : remaining;
  }

  /**
   * Nobody waits any more. The first reason counts. If a listener throws, the others are still
   * called, and the error becomes an uncaught exception.
   */
  abort(reason: unknown): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason;
    const listeners = this.#listeners;
    this.#listeners = NONE;
    for (const listener of listeners) {
      try {
        listener();
      } catch (error) {
        process.nextTick(() => {
          throw error;
        });
      }
    }
  }
}
