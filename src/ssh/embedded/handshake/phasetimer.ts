/** A time limit that stands still while a person is asked something. */
export class PhaseTimer {
  readonly #expired: () => void;
  #left: number;
  #since = 0;
  #stopped = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(milliseconds: number, expired: () => void) {
    this.#left = milliseconds;
    this.#expired = expired;
    this.pause(false);
  }

  pause(paused: boolean): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    if (paused) {
      this.#left -= performance.now() - this.#since;
    } else {
      this.#since = performance.now();
      this.#timer = setTimeout(this.#expired, Math.max(1, this.#left));
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#stopped = true;
  }
}
