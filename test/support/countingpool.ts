import { type Slab, SlabPool } from '../../src/flow/memory.ts';

/** A pool that counts its slabs in use. */
export class CountingPool extends SlabPool {
  readonly #live = new Set<Slab>();

  get live(): number {
    return this.#live.size;
  }

  override take(): Slab {
    const slab = super.take();
    this.#live.add(slab);
    return slab;
  }

  override put(slab: Slab): void {
    this.#live.delete(slab);
    super.put(slab);
  }
}
