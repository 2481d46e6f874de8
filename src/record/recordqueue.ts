/**
 * Records that wait to be written, as the bytes that they are written as. They are in a few pieces
 * of memory that are used again, so a storm of records leaves no garbage that lives long enough to
 * cost something.
 */
import type { FlowRecord } from './records.ts';
import { RecordWriter } from './recordwriter.ts';
import type { RecordSink } from './sink.ts';

/** Some 600 records. */
const PIECE_BYTES = 256 * 1024;
/** More than a piece has room for: the shortest records have some 100 octets. */
const PIECE_RECORDS = 4096;
/** The most memory of records that wait: some 10,000 of them. */
export const MAX_PIECES = 16;
const SPARE_PIECES = 1;

interface Piece {
  readonly bytes: Buffer;
  /** Where each record ends, those that have been taken as well. */
  readonly ends: Uint32Array;
  /** How many there are, and have been taken. */
  count: number;
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
  add(record: FlowRecord): boolean {
    const last = this.#pieces.at(-1);
    if (last !== undefined && this.#write(last, record)) return true;
    if (this.#pieces.length >= MAX_PIECES) return false;
    const piece = this.#spare.pop() ?? newPiece();
    // A record that fits in none is longer than any of ours.
    const fits = this.#write(piece, record);
    (fits ? this.#pieces : this.#spare).push(piece);
    return fits;
  }

  #write(piece: Piece, record: FlowRecord): boolean {
    if (piece.count === PIECE_RECORDS) return false;
    const writer = this.#writer;
    writer.begin(piece.bytes, endOf(piece, piece.count));
    this.#format(writer, record);
    if (!writer.fits) return false;
    piece.ends[piece.count++] = writer.end;
    this.#size++;
    return true;
  }

  /** The oldest records, as many as lie beside each other. They stay until they are taken. */
  oldest(): Batch | undefined {
    const [piece] = this.#pieces;
    if (piece === undefined || piece.count === piece.taken) return undefined;
    const { bytes, ends, count, taken } = piece;
    const begin = endOf(piece, taken);
    return {
      bytes: bytes.subarray(begin, endOf(piece, count)),
      ends: Array.from(ends.subarray(taken, count), (end) => end - begin),
    };
  }

  /** The oldest `count` records, of the last `oldest()`, have been written. */
  take(count: number): void {
    const [piece] = this.#pieces;
    if (piece === undefined || count === 0) return;
    this.#size -= count;
    piece.taken += count;
    if (piece.taken < piece.count) return;
    this.#pieces.shift();
    piece.taken = 0;
    piece.count = 0;
    if (this.#spare.length < SPARE_PIECES) this.#spare.push(piece);
  }
}

function newPiece(): Piece {
  const ends = new Uint32Array(PIECE_RECORDS);
  return { bytes: Buffer.allocUnsafeSlow(PIECE_BYTES), ends, count: 0, taken: 0 };
}

/** Where the first `count` records end. */
function endOf({ ends }: Piece, count: number): number {
  return count === 0 ? 0 : (ends[count - 1] ?? 0);
}
