/**
 * The start of a part that can be closed at any time, also while it starts: *close awaits start*.
 *
 *   start(signal)  run(signal, work)   `work` gets a signal that aborts with `signal` or with end()
 *   close()        end(reason)         aborts `work`, and resolves when it has settled
 *                                      after that, undo what `work` has done: it adds no more
 *
 * `work` checks the signal after each await. If it fails it doesn't call close(): the owner of the
 * part does.
 */
export class PartStart {
  readonly #ending = new AbortController();
  #over: Promise<unknown> = Promise.resolve();

  /** end() has been called. */
  get ended(): boolean {
    return this.#ending.signal.aborted;
  }

  /**
   * Runs one step of the start. Rejects as `work` does. If the start has already been aborted, it
   * rejects with the reason and doesn't call `work`.
   */
  async run<T>(outer: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const signal = AbortSignal.any([outer, this.#ending.signal]);
    signal.throwIfAborted();
    const result = work(signal);
    // The caller gets the failure.
    this.#over = Promise.allSettled([this.#over, result]);
    return result;
  }

  /** May be called more than once; the first reason counts. Never rejects. */
  async end(reason: Error): Promise<void> {
    this.#ending.abort(reason);
    await this.#over;
  }
}
