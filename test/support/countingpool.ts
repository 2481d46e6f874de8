import { type Slab, SlabPool } from '../../src/flow/memory.ts';

/** A pool that counts which of its slabs somebody holds. */
export class CountingPool extends SlabPool {
  readonly #held = new Set<Slab>();

  get live(): number {
    return this.#held.size;
  }

  override take(): Slab {
    const slab = super.take();
    this.#held.add(slab);
    return slab;
  }

  override put(slab: Slab): void {
    this.#held.delete(slab);
    super.put(slab);
  }
}
