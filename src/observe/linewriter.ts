/**
 * Writes lines to a descriptor that may block for hours: a terminal stopped with Ctrl-S, a pipe
 * that nobody reads. Callers never wait for it.
 *
 *   write() ─► the queue is empty: writes what fits to the descriptor at once
 *          └─► the rest, and all later lines: a queue of MAX_WAITING_BYTES ─► a timer tries again
 *              until it is empty; a line is never torn
 *
 * States:
 *
 *   idle      the queue is empty
 *   waiting   lines wait in the queue
 *   full      a line didn't fit into the queue: all lines are left out and counted, until the queue
 *             is empty or writeSurely() is called; then one line says how many
 *   broken    nobody will read any more (EPIPE, EIO, ENOSPC): lines are dropped, and not counted
 *
 * Lines are left out in one block, so the place where they are missing is known.
 */
import { systemCodeOf } from '../errors/reason.ts';

/** The capacity of the queue in bytes: some 2,500 lines. */
export const MAX_WAITING_BYTES = 256 * 1024;
/** The time between two tries, in ms: after a successful write, and at most. */
const RETRY_MS = 10;
const MOST_RETRY_MS = 160;
/** How much is written before other events get their turn. */
const BYTES_A_TURN = 64 * 1024;
/** The time between two tries at the end of the program, when there is nothing else to do. */
const FLUSH_RETRY_MS = 5;

/**
 * Writes what fits at once and returns the number of bytes written, 0 if the descriptor would
 * block. Throws if nobody will read any more.
 */
export type WriteNow = (bytes: Uint8Array) => number;

const TRY_AGAIN: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'EINTR']);

export class LineWriter {
  readonly #writeNow: WriteNow;
  readonly #queue: Buffer[] = [];
  #waitingBytes = 0;
  /** How many lines have been left out since the queue was full. */
  #leftOut = 0;
  #dropped = 0;
  #broken = false;
  #timer: NodeJS.Timeout | undefined;
  #retry = RETRY_MS;

  constructor(writeNow: WriteNow) {
    this.#writeNow = writeNow;
  }

  /** Whether nobody will read any more. */
  get broken(): boolean {
    return this.#broken;
  }

  /** How many lines were left out because nobody read them. */
  get dropped(): number {
    return this.#dropped;
  }

  /** How many bytes wait for a reader. */
  get waiting(): number {
    return this.#waitingBytes;
  }

  /** `line` ends in a newline. It is left out if the queue is full. */
  write(line: string): void {
    if (this.#broken) return;
    const bytes = Buffer.from(line);
    if (this.#leftOut > 0 || this.#waitingBytes + bytes.length > MAX_WAITING_BYTES) {
      this.#leftOut += 1;
      this.#dropped += 1;
    } else this.#add(bytes);
  }

  /**
   * The same for the program's last messages, which are never left out. They must be few and short.
   */
  writeSurely(text: string): void {
    if (this.#broken) return;
    if (this.#leftOut > 0) this.#sayLeftOut();
    this.#add(Buffer.from(text));
  }

  /**
   * At the end of the program: waits up to `milliseconds` until the queue is written, and blocks
   * everything else in the meantime. May be called more than once.
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
    // The timer doesn't keep the program running: flush() writes the rest at its end.
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#proceed();
    }, this.#retry).unref();
  }

  /** Writes as much as it can, up to about `limit` bytes. True: the queue is empty. */
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
    } catch (error) {
      // A full disk may have space again.
      if (TRY_AGAIN.has(systemCodeOf(error))) return 0;
      // EPIPE, EIO, EBADF: there is no place to report it.
      this.#broken = true;
      this.#queue.length = 0;
      this.#waitingBytes = 0;
      return 0;
    }
  }

  #sayLeftOut(): void {
    const messages = this.#leftOut === 1 ? '1 message was' : `${this.#leftOut} messages were`;
    const bytes = Buffer.from(
      `tunnel: warning: ${messages} left out: standard error was blocked for a while\n`,
    );
    this.#leftOut = 0;
    this.#queue.push(bytes);
    this.#waitingBytes += bytes.length;
  }
}
