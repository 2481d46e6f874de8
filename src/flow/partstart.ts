/**
 * The start of a part that can be closed at any time, also while it starts: *close awaits start*.
 *
 *   start(signal)  run(signal, work)   `work` gets a signal that aborts with `signal` or with end()
 *   close()        end(reason)         aborts `work`, and resolves when it is over, whichever way
 *                                      then undo what `work` has done: nothing is added any more
 *
 * `work` checks the signal after each await. It doesn't call close() itself when it fails: whoever
 * owns the part closes it then.
 */
export class PartStart {
  readonly #ending = new AbortController();
  #over: Promise<unknown> = Promise.resolve();

  /** end() has been called. */
  get ended(): boolean {
    return this.#ending.signal.aborted;
  }

  /**
   * Runs one step of the start. Rejects as `work` does, or without calling it with the reason why
   * there is no point any more.
   */
  async run<T>(outer: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const signal = AbortSignal.any([outer, this.#ending.signal]);
    signal.throwIfAborted();
    const result = work(signal);
    // Whoever has called hears of a failure.
    this.#over = Promise.allSettled([this.#over, result]);
    return result;
  }

  /** May be called more than once; the first reason counts. Never rejects. */
  async end(reason: Error): Promise<void> {
    this.#ending.abort(reason);
    await this.#over;
  }
}
