/**
 * Bytes that wait, in order. Most are views of memory that is reused, which the queue retains until
 * they are gone.
 *
 *   push(view, its slab) -> ... -> drop(bytes) from the front: a slab is released with its last
 *   byte
 *
 * A view of a few bytes would keep a whole slab from being reused. Small data that must wait behind
 * others are therefore copied at once, and data that wait for long are moved into separate memory
 * (`settle`).
 */
import type { Slab } from './memory.ts';

export interface Piece {
  data: Buffer;
  memory: Slab | undefined;
}

/** Moved pieces are joined up to this size. */
const BLOCK_BYTES = 32 * 1024;
const LEAST_BLOCK_BYTES = 1024;
/**
 * Data smaller than this that must wait behind others are joined with them. Each piece costs memory
 * and time in addition to its bytes, and a slab is many times larger.
 */
const SMALL_BYTES = 16 * 1024;

export class PieceQueue {
  #pieces: Piece[] = [];
  #bytes = 0;
  /** Bytes in views of slabs. */
  #borrowed = 0;
  /**
   * Where `gather` was last: the index of a piece, and how many bytes come before it. Bulk data are
   * sent from the end of a long queue, so the search starts here.
   */
  #index = 0;
  #before = 0;
  /** Free space after the last piece, if that piece lies in a block of this queue. */
  #free: Buffer | undefined;

  get bytes(): number {
    return this.#bytes;
  }

  get borrowed(): number {
    return this.#borrowed;
  }

  /** The first piece, or undefined if the queue is empty. */
  get first(): Buffer | undefined {
    return this.#pieces[0]?.data;
  }

  /**
   * Puts views of up to `length` bytes from `offset` on into `into`, and undefined into the rest of
   * it. Returns how many bytes these are.
   */
  gather(offset: number, length: number, into: (Buffer | undefined)[]): number {
    if (offset < this.#before) {
      this.#index = 0;
      this.#before = 0;
    }
    let piece = this.#pieces[this.#index];
    while (piece !== undefined && this.#before + piece.data.length <= offset) {
      this.#before += piece.data.length;
      piece = this.#pieces[++this.#index];
    }
    let index = this.#index;
    let skip = offset - this.#before;
    let gathered = 0;
    for (let part = 0; part < into.length; part++) {
      const data = gathered < length ? this.#pieces[index++]?.data : undefined;
      if (data === undefined) {
        into[part] = undefined;
        continue;
      }
      const end = Math.min(data.length, skip + length - gathered);
      into[part] = skip === 0 && end === data.length ? data : data.subarray(skip, end);
      gathered += end - skip;
      skip = 0;
    }
    return gathered;
  }

  push(data: Buffer, memory: Slab | undefined): void {
    if (data.length === 0) return;
    const waits = this.#bytes > 0;
    this.#bytes += data.length;
    if (waits && data.length < SMALL_BYTES) {
      this.#append(data);
      return;
    }
    this.#free = undefined;
    if (memory !== undefined) {
      memory.retain();
      this.#borrowed += data.length;
    }
    this.#pieces.push({ data, memory });
  }

  /** Copies `data` after the last piece. */
  #append(data: Buffer): void {
    let from = 0;
    const last = this.#pieces.at(-1);
    if (this.#free !== undefined && last !== undefined) {
      from = data.copy(this.#free);
      const { buffer, byteOffset, length } = last.data;
      if (this.#index === this.#pieces.length) {
        // `gather` had passed the last piece, which has grown now.
        this.#index--;
        this.#before -= length;
      }
      last.data = Buffer.from(buffer, byteOffset, length + from);
      this.#free = this.#free.subarray(from);
    }
    if (from === data.length) return;
    const wanted = Math.max(LEAST_BLOCK_BYTES, 2 * data.length, this.#bytes);
    const block = Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES, wanted));
    const length = data.copy(block, 0, from);
    this.#pieces.push({ data: block.subarray(0, length), memory: undefined });
    this.#free = block.subarray(length);
  }

  /** Drops bytes from the front. The queue must have that many. */
  drop(bytes: number): void {
    let left = bytes;
    let whole = 0;
    this.#bytes -= bytes;
    for (
      let piece = this.#pieces[whole];
      piece !== undefined && left > 0;
      piece = this.#pieces[whole]
    ) {
      const { data, memory } = piece;
      if (memory !== undefined) this.#borrowed -= Math.min(left, data.length);
      if (left < data.length) {
        piece.data = data.subarray(left);
        break;
      }
      left -= data.length;
      memory?.release();
      whole++;
    }
    if (whole === this.#pieces.length) {
      this.#pieces.length = 0;
      this.#free = undefined;
    }
    if (whole === 1) this.#pieces.shift();
    else if (whole > 0) this.#pieces.splice(0, whole);
    this.#index = Math.max(0, this.#index - whole);
    this.#before = this.#index === 0 ? 0 : this.#before - bytes;
  }

  /** Moves all data that are in slabs into separate memory. */
  settle(): void {
    if (this.#borrowed === 0) return;
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#free = undefined;
    this.#borrowed = 0;
    this.#index = 0;
    this.#before = 0;
    let group: Piece[] = [];
    let size = 0;
    for (const piece of pieces) {
      if (size + piece.data.length > BLOCK_BYTES) {
        this.#move(group, size);
        group = [];
        size = 0;
      }
      group.push(piece);
      size += piece.data.length;
    }
    this.#move(group, size);
  }

  clear(): void {
    for (const { memory } of this.#pieces) memory?.release();
    this.#pieces = [];
    this.#free = undefined;
    this.#bytes = 0;
    this.#borrowed = 0;
    this.#index = 0;
    this.#before = 0;
  }

  #move(group: readonly Piece[], size: number): void {
    const [first] = group;
    if (first === undefined) return;
    if (group.length === 1 && first.memory === undefined) {
      this.#pieces.push(first);
      return;
    }
    const block = Buffer.allocUnsafeSlow(size);
    let at = 0;
    for (const { data, memory } of group) {
      block.set(data, at);
      at += data.length;
      memory?.release();
    }
    this.#pieces.push({ data: block, memory: undefined });
  }
}
