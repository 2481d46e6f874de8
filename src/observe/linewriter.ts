/**
 * Lines for a descriptor that may take none for hours: a terminal that was stopped with Ctrl-S, a
 * pipe that nobody reads. Whoever writes never waits for it.
 *
 *   write() ─► nothing waits: to the descriptor at once, what fits
 *          └─► the rest, and all that comes meanwhile: a queue of MAX_WAITING_BYTES ─► tried again
 *              by a timer until it is empty; a line is never torn
 *
 * States:
 *
 *   idle      nothing waits
 *   waiting   something does; lines queue behind it
 *   full      a line didn't fit into the queue: all are left out and counted, until the queue is
 *             empty, or until the last words; then one line says how many
 *   broken    nobody will read any more (EPIPE, EIO, ENOSPC): lines are dropped, and not counted
 *
 * What is left out is left out in one piece: so the place where lines are missing is known.
 */

/** What waits for a reader, in bytes: some 2,500 lines. */
export const MAX_WAITING_BYTES = 256 * 1024;
/** Between two tries, in ms: the first after something was taken, and the last of a long wait. */
const RETRY_MS = 10;
const MOST_RETRY_MS = 160;
/** What is written before other events have their turn. */
const BYTES_A_TURN = 64 * 1024;
/** Between two tries at the end of the program, where nothing else is to be done. */
const FLUSH_RETRY_MS = 5;

/**
 * Writes what fits at once and returns the number of bytes taken, 0 when there is no room. Throws
 * when nobody will read any more.
 */
export type WriteNow = (bytes: Uint8Array) => number;

export class LineWriter {
  readonly #writeNow: WriteNow;
  readonly #queue: Buffer[] = [];
  #waitingBytes = 0;
  /** Left out since the queue was full. */
  #leftOut = 0;
  #dropped = 0;
  #broken = false;
  #timer: NodeJS.Timeout | undefined;
  #retry = RETRY_MS;

  constructor(writeNow: WriteNow) {
    this.#writeNow = writeNow;
  }

  /** Nobody will read any more. */
  get broken(): boolean {
    return this.#broken;
  }

  /** Lines that were left out because nobody took them. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Bytes that wait for a reader. */
  get waiting(): number {
    return this.#waitingBytes;
  }

  /** `line` ends in a newline. It may be left out where there is no room. */
  write(line: string): void {
    if (this.#broken) return;
    const bytes = Buffer.from(line);
    if (this.#leftOut > 0 || this.#waitingBytes + bytes.length > MAX_WAITING_BYTES) {
      this.#leftOut += 1;
      this.#dropped += 1;
    } else this.#add(bytes);
  }

  /** The same for the last words of the program, which are never left out: few, and bounded. */
  writeSurely(text: string): void {
    if (this.#broken) return;
    if (this.#leftOut > 0) this.#sayLeftOut();
    this.#add(Buffer.from(text));
  }

  /**
   * At the end of the program: waits up to `milliseconds` for what is left to be taken, and blocks
   * everything else meanwhile. May be called more than once.
   */
  flush(milliseconds: number): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const pause = new Int32Array(new SharedArrayBuffer(4));
    const deadline = performance.now() + milliseconds;
    while (!this.#drain(Number.POSITIVE_INFINITY) && performance.now() < deadline)
      Atomics.wait(pause, 0, 0, FLUSH_RETRY_MS);
  }

  #add(bytes: Buffer): void {
    this.#queue.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#timer === undefined) this.#proceed();
  }

  #proceed(): void {
    const before = this.#waitingBytes;
    if (this.#drain(BYTES_A_TURN)) {
      this.#retry = RETRY_MS;
      return;
    }
    this.#retry = this.#waitingBytes < before ? RETRY_MS : Math.min(2 * this.#retry, MOST_RETRY_MS);
    // The program doesn't stay for it: at its end there is flush().
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#proceed();
    }, this.#retry).unref();
  }

  /** Writes what is taken, up to about `limit` bytes. True: nothing waits any more. */
  #drain(limit: number): boolean {
    for (let written = 0; ; ) {
      const [first] = this.#queue;
      if (first === undefined) {
        if (this.#leftOut === 0) return true;
        this.#sayLeftOut();
        continue;
      }
      if (written >= limit) return false;
      const taken = this.#take(first);
      if (this.#broken) return true;
      written += taken;
      this.#waitingBytes -= taken;
      if (taken === first.length) this.#queue.shift();
      else {
        this.#queue[0] = first.subarray(taken);
        if (taken === 0) return false;
      }
    }
  }

  #take(bytes: Buffer): number {
    try {
      return this.#writeNow(bytes);
    } catch {
      // EPIPE, EIO, ENOSPC: there is nowhere to report it.
      this.#broken = true;
      this.#queue.length = 0;
      this.#waitingBytes = 0;
      return 0;
    }
  }

  #sayLeftOut(): void {
    const messages = this.#leftOut === 1 ? '1 message was' : `${this.#leftOut} messages were`;
    const bytes = Buffer.from(
      `tunnel: warning: ${messages} left out: standard error took none for a while\n`,
    );
    this.#leftOut = 0;
    this.#queue.push(bytes);
    this.#waitingBytes += bytes.length;
  }
}
