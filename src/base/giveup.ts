/**
 * Whether somebody still waits for a connection. Each connection has one and hardly any is ever
 * used, so it has what is needed of an AbortSignal and no more: that one is an EventTarget, which
 * is slower to make and to listen to than a channel is to open.
 */

/**
 * The part of an AbortSignal that connections go by: where one of these is wanted, an AbortSignal
 * will do.
 */
export interface GiveUpSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  throwIfAborted(): void;
  /**
   * `listener` is called once, from within what aborts it; never when it has been aborted already.
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
    const left = this.#listeners.filter((known) => known !== listener);
    this.#listeners = left.length === 0 ? NONE : left;
  }

  /**
   * Nobody waits any more. The first reason counts. What a listener throws is nobody's to catch,
   * and keeps none from being called.
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
