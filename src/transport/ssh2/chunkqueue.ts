/**
 * What has come for a reader that doesn't read. Data are copied: what comes in is a view of a buffer that many share, and
 * a few bytes must not keep all of it. Small chunks are put together, so that the memory taken is that of the data.
 */

/** Sizes of the blocks that small chunks are put together in. */
const MIN_BLOCK = 1024;
const MAX_BLOCK = 32 * 1024;

export class ChunkQueue {
  #blocks: { readonly buffer: Buffer; used: number }[] = [];
  /** Blocks before it have been taken out. */
  #first = 0;

  get empty(): boolean {
    return this.#first === this.#blocks.length;
  }

  append(data: Buffer): void {
    const last = this.empty ? undefined : this.#blocks.at(-1);
    const room = last === undefined ? 0 : last.buffer.length - last.used;
    const here = Math.min(room, data.length);
    if (last !== undefined && here > 0) {
      data.copy(last.buffer, last.used, 0, here);
      last.used += here;
    }
    const rest = data.length - here;
    if (rest === 0) return;
    // Each block is at least as large as the one before, so that many small chunks don't make many blocks.
    const size = Math.max(rest, Math.min(MAX_BLOCK, last === undefined ? MIN_BLOCK : 2 * last.buffer.length));
    const buffer = Buffer.allocUnsafeSlow(size);
    data.copy(buffer, 0, here);
    this.#blocks.push({ buffer, used: rest });
  }

  shift(): Buffer | undefined {
    const block = this.#blocks[this.#first];
    if (block === undefined) return undefined;
    this.#first++;
    if (this.#first === this.#blocks.length) this.clear();
    else if (this.#first >= 64 && 2 * this.#first >= this.#blocks.length) {
      this.#blocks = this.#blocks.slice(this.#first);
      this.#first = 0;
    }
    return block.buffer.subarray(0, block.used);
  }

  clear(): void {
    this.#blocks = [];
    this.#first = 0;
  }
}
