/**
 * Records that wait to be written, as the bytes that they are written as. They are in a few pieces
 * of memory that are used again, so a storm of records leaves no garbage that lives long enough to
 * cost something.
 */

/** Some 160 records. */
const PIECE_BYTES = 64 * 1024;
/** The most memory of records that wait: some 10,000 of them. */
export const MAX_PIECES = 64;
const SPARE_PIECES = 2;
/** Of UTF-8, for each unit of UTF-16. */
const MOST_BYTES_A_UNIT = 3;

interface Piece {
  readonly bytes: Buffer;
  /** Where each record ends. */
  ends: number[];
  /** Where those end that have been taken. */
  taken: number;
}

export interface Batch {
  readonly bytes: Buffer;
  /** Where each record ends in `bytes`. */
  readonly ends: readonly number[];
}

export class RecordQueue {
  readonly #pieces: Piece[] = [];
  readonly #spare: Piece[] = [];
  #size = 0;

  /** How many records wait. */
  get size(): number {
    return this.#size;
  }

  /** False: there is no room for it. `text` has at most some 10,000 characters. */
  add(text: string): boolean {
    let piece = this.#pieces.at(-1);
    const most = text.length * MOST_BYTES_A_UNIT;
    if (piece === undefined || usedOf(piece) + most > piece.bytes.length) {
      if (this.#pieces.length >= MAX_PIECES || most > PIECE_BYTES) return false;
      piece = this.#spare.pop() ?? newPiece();
      this.#pieces.push(piece);
    }
    const at = usedOf(piece);
    piece.ends.push(at + piece.bytes.write(text, at));
    this.#size++;
    return true;
  }

  /** The oldest records, as many as lie beside each other. They stay until they are taken. */
  oldest(): Batch | undefined {
    const [piece] = this.#pieces;
    if (piece === undefined || piece.ends.length === 0) return undefined;
    const { bytes, ends, taken } = piece;
    return { bytes: bytes.subarray(taken, usedOf(piece)), ends: ends.map((end) => end - taken) };
  }

  /** The oldest `count` records, of the last `oldest()`, have been written. */
  take(count: number): void {
    const [piece] = this.#pieces;
    if (piece === undefined || count === 0) return;
    this.#size -= count;
    piece.taken = piece.ends[count - 1] ?? piece.taken;
    piece.ends = piece.ends.slice(count);
    if (piece.ends.length > 0) return;
    this.#pieces.shift();
    piece.taken = 0;
    if (this.#spare.length < SPARE_PIECES) this.#spare.push(piece);
  }
}

function newPiece(): Piece {
  return { bytes: Buffer.allocUnsafeSlow(PIECE_BYTES), ends: [], taken: 0 };
}

function usedOf({ ends, taken }: Piece): number {
  return ends.at(-1) ?? taken;
}
