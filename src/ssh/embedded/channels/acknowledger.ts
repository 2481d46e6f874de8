/**
 * Has small pieces from the server acknowledged at once, if nothing is sent that carries the
 * acknowledgement.
 *
 *   a small read ─► the end of the turn ─► has something been sent?  yes: that carries it
 *                                                                    no: acknowledge()
 *
 * The kernel delays an acknowledgement for up to 40 ms in the hope of data to go with it. A server
 * with Nagle's algorithm holds the second part of an answer for as long (flushtiming.ts): one in
 * two writes takes 42 ms on the local link instead of 3. TCP_QUICKACK (tcp(7)) is not sticky, but
 * sends an acknowledgement that is being delayed. So it is asked for once in each turn of the event
 * loop with a small read. A large one is acknowledged by the kernel's own rule, every second
 * segment.
 */

/** A read of so many bytes is several segments. */
const LARGE_BYTES = 4 * 1024;

export class Acknowledger {
  readonly #acknowledge: () => boolean;
  #due = false;
  #scheduled = false;
  #possible = true;

  /** `acknowledge`: false when it can't be done; then it is not called again. */
  constructor(acknowledge: () => boolean) {
    this.#acknowledge = acknowledge;
  }

  /** So many bytes have been read, and more of them may be waited for. */
  received(bytes: number): void {
    if (bytes >= LARGE_BYTES || !this.#possible) return;
    this.#due = true;
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#run);
  }

  /** Something has been sent. */
  sent(): void {
    this.#due = false;
  }

  readonly #run = (): void => {
    this.#scheduled = false;
    if (!this.#due) return;
    this.#due = false;
    this.#possible = this.#acknowledge();
  };
}
