/**
 * Makes the kernel acknowledge small reads from the server at once, unless something is sent that
 * carries the acknowledgement.
 *
 *   a small read ─► the end of the turn ─► has something been sent?  yes: that carries it
 *                                                                    no: acknowledge()
 *
 * The kernel delays an acknowledgement for up to 40 ms, in case data can go with it. A server with
 * Nagle's algorithm delays the second part of an answer for as long (flushtiming.ts): an answer in
 * two writes takes 42 ms on the local link instead of 3. TCP_QUICKACK (tcp(7)) is not permanent,
 * but sends an acknowledgement that is being delayed. So it is set once in each turn of the event
 * loop with a small read. Large reads are acknowledged by the kernel's own rule, every second
 * segment.
 */

/** A read of this many bytes is several segments. */
const LARGE_BYTES = 4 * 1024;

export class Acknowledger {
  readonly #acknowledge: () => boolean;
  #pending = false;
  #scheduled = false;
  #possible = true;

  /** `acknowledge` returns false if it can't be done; it is then not called again. */
  constructor(acknowledge: () => boolean) {
    this.#acknowledge = acknowledge;
  }

  /** This many bytes were read, and the server may be waiting for the acknowledgement. */
  received(bytes: number): void {
    if (bytes >= LARGE_BYTES || !this.#possible) return;
    this.#pending = true;
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#run);
  }

  /** Something has been sent. */
  sent(): void {
    this.#pending = false;
  }

  readonly #run = (): void => {
    this.#scheduled = false;
    if (!this.#pending) return;
    this.#pending = false;
    this.#possible = this.#acknowledge();
  };
}
