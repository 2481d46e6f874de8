/**
 * Records that wait to be written, as the bytes that they are written as. They are in a few pieces
 * of memory that are used again, so a storm of records leaves no garbage that lives long enough to
 * cost something.
 */
import type { Fields, FlowRecord } from './records.ts';
import { RecordWriter } from './recordwriter.ts';
import type { RecordSink } from './sink.ts';

/** Some 600 records. */
const PIECE_BYTES = 256 * 1024;
/** The most memory of records that wait: some 10,000 of them. */
export const MAX_PIECES = 16;
const SPARE_PIECES = 1;

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
  readonly #format: RecordSink['format'];
  readonly #writer = new RecordWriter();
  readonly #pieces: Piece[] = [];
  readonly #spare: Piece[] = [];
  #size = 0;

  constructor(format: RecordSink['format']) {
    this.#format = format;
  }

  /** How many records wait. */
  get size(): number {
    return this.#size;
  }

  /** False: there is no room for it. */
  add(record: FlowRecord, common?: Fields): boolean {
    const last = this.#pieces.at(-1);
    if (last !== undefined && this.#write(last, record, common)) return true;
    if (this.#pieces.length >= MAX_PIECES) return false;
    const piece = this.#spare.pop() ?? newPiece();
    // A record that fits in none is longer than any of ours.
    const fits = this.#write(piece, record, common);
    (fits ? this.#pieces : this.#spare).push(piece);
    return fits;
  }

  #write(piece: Piece, record: FlowRecord, common: Fields | undefined): boolean {
    const writer = this.#writer;
    writer.begin(piece.bytes, usedOf(piece));
    this.#format(writer, record, common);
    if (!writer.fits) return false;
    piece.ends.push(writer.end);
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
