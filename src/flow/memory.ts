/**
 * Memory that is reused: slabs of one size, each with a count of its holders.
 *
 *   pool.take() -> 1 holder -> retain() ... release() -> 0 holders: back in the pool
 *
 * This keeps bulk data in the processor's cache and makes no garbage. Code that passes on a view of
 * a slab passes the slab with it. A receiver that keeps the view beyond the call retains the slab,
 * and releases it when done.
 */
export class Slab {
  readonly bytes: Buffer;
  readonly view: DataView;
  readonly #pool: SlabPool | undefined;
  #holders = 1;

  constructor(size: number, pool?: SlabPool) {
    this.bytes = Buffer.allocUnsafeSlow(size);
    this.view = new DataView(this.bytes.buffer);
    this.#pool = pool;
  }

  /** Somebody other than the one who took it also uses it. */
  get shared(): boolean {
    return this.#holders > 1;
  }

  retain(): void {
    this.#holders++;
  }

  release(): void {
    if (--this.#holders === 0) this.#pool?.put(this);
  }

  /** For the pool. */
  reuse(): void {
    this.#holders = 1;
  }
}

export class SlabPool {
  readonly #size: number;
  readonly #spare: Slab[] = [];
  readonly #maxSpare: number;

  /**
   * `size` in bytes. Up to `maxSpare` unused slabs are kept; the rest is left to the garbage
   * collector.
   */
  constructor(size: number, maxSpare: number) {
    this.#size = size;
    this.#maxSpare = maxSpare;
  }

  take(): Slab {
    const spare = this.#spare.pop();
    if (spare === undefined) return new Slab(this.#size, this);
    spare.reuse();
    return spare;
  }

  put(slab: Slab): void {
    if (this.#spare.length < this.#maxSpare) this.#spare.push(slab);
  }
}
