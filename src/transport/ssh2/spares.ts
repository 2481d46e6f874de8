/**
 * Memory for what flows have not been able to send at once, used again: while the connection is full each chunk that an application
 * writes waits in a copy, and fresh memory for each makes the garbage collector go through all flows again and again.
 *
 *   keep(data) -> a copy, in a small piece or a large one -> ... -> release(copy): the piece is used again
 *
 * Each flow holds one, so what is in use is bounded by the flows; what is not in use, by MAX_SPARE_BYTES: beyond, pieces are left to
 * the garbage collector. So is a copy that is never released.
 */

/** A request, a few keystrokes. */
const SMALL = 4 * 1024;
/**
 * What a socket reads at a time. There is nothing in between: flows whose chunks differ from one to the next would leave pieces of one
 * size behind and want another. Larger chunks, which no socket of this program's makes, have memory of their own.
 */
const LARGE = 64 * 1024;
export const MAX_SPARE_BYTES = 8 * 1024 * 1024;

export class Spares {
  readonly #small: ArrayBuffer[] = [];
  readonly #large: ArrayBuffer[] = [];
  #bytes = 0;

  /** Bytes that are not in use. */
  get bytes(): number {
    return this.#bytes;
  }

  keep(data: Buffer): Buffer {
    if (data.length > LARGE) return Buffer.from(data);
    const size = data.length > SMALL ? LARGE : SMALL;
    const piece = this.#of(size).pop();
    if (piece !== undefined) this.#bytes -= size;
    const copy = Buffer.from(piece ?? new ArrayBuffer(size), 0, data.length);
    copy.set(data);
    return copy;
  }

  /** `copy`: what `keep` has returned, or a part of it; nobody may look at it any more. */
  release({ buffer: piece }: Buffer): void {
    const size = piece.byteLength;
    if (size > LARGE || this.#bytes + size > MAX_SPARE_BYTES || !(piece instanceof ArrayBuffer)) return;
    this.#of(size).push(piece);
    this.#bytes += size;
  }

  #of(size: number): ArrayBuffer[] {
    return size === LARGE ? this.#large : this.#small;
  }
}
