/** Memory that is used again: never by two at a time, and no more of it is kept than is allowed. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Slab } from '../../../src/flow/memory.ts';
import { CountingPool } from '../../support/countingpool.ts';

const SIZE = 64;

describe('SlabPool', () => {
  it('gives out again what nobody holds any more', () => {
    const pool = new CountingPool(SIZE, 1);
    const first = pool.take();
    assert.deepEqual([first.bytes.length, first.view.byteLength, pool.live], [SIZE, SIZE, 1]);
    assert.equal(first.shared, false);
    first.retain();
    assert.equal(first.shared, true);
    first.release();
    assert.equal(first.shared, false);
    assert.notEqual(pool.take(), first, 'it is still held');
    first.release();
    assert.equal(pool.live, 1);
    assert.equal(pool.take(), first);
  });

  it('keeps no more than it may, and makes others when it has none', () => {
    const pool = new CountingPool(SIZE, 2);
    const slabs = Array.from({ length: 5 }, () => pool.take());
    assert.equal(new Set(slabs).size, 5);
    for (const slab of slabs) slab.release();
    assert.equal(pool.live, 0);
    const again = Array.from({ length: 5 }, () => pool.take());
    assert.equal(again.filter((slab) => slabs.includes(slab)).length, 2);
  });

  it('never gives out what somebody holds, however holders come and go', () => {
    const step = fc.record({
      kind: fc.constantFrom('take', 'retain', 'release'),
      index: fc.nat(8),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: 'max' }), fc.nat(4), (steps, maxSpare) => {
        const pool = new CountingPool(SIZE, maxSpare);
        /** One entry for each holder. */
        const held: { readonly slab: Slab; readonly mark: number }[] = [];
        for (const [number, { kind, index }] of steps.entries()) {
          const holder = held[index];
          if (kind === 'take') {
            const slab = pool.take();
            assert.ok(held.every((other) => other.slab !== slab));
            slab.bytes.fill(number);
            held.push({ slab, mark: number & 0xff });
          } else if (kind === 'retain' && holder !== undefined) {
            holder.slab.retain();
            held.push(holder);
          } else if (kind === 'release' && holder !== undefined) {
            held.splice(index, 1);
            holder.slab.release();
          }
          for (const { slab, mark } of held) assert.ok(slab.bytes.every((byte) => byte === mark));
          assert.equal(pool.live, new Set(held.map(({ slab }) => slab)).size);
        }
      }),
    );
  });
});
