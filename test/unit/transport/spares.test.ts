/** Memory that is used again: never by two at a time, and never more than its bound while nobody needs it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MAX_SPARE_BYTES, Spares } from '../../../src/transport/ssh2/spares.ts';

const KIB = 1024;

describe('Spares', () => {
  it('copies', () => {
    const spares = new Spares();
    for (const length of [1, 4 * KIB, 5000, 64 * KIB, 64 * KIB + 1, 1024 * KIB]) {
      const data = Buffer.alloc(length, 'x');
      const copy = spares.keep(data);
      data.fill('y');
      assert.equal(copy.equals(Buffer.alloc(length, 'x')), true, `${length}`);
    }
  });

  it('uses again what was released, for large chunks and for small ones', () => {
    const spares = new Spares();
    const first = spares.keep(Buffer.alloc(40 * KIB));
    spares.release(first.subarray(100));
    assert.equal(spares.bytes, 64 * KIB);
    assert.notEqual(spares.keep(Buffer.alloc(1)).buffer, first.buffer);
    assert.equal(spares.keep(Buffer.alloc(5 * KIB)).buffer, first.buffer);
    assert.equal(spares.bytes, 0);
  });

  it('leaves large ones, and more than the bound, to the garbage collector', () => {
    const spares = new Spares();
    spares.release(spares.keep(Buffer.alloc(64 * KIB + 1)));
    assert.equal(spares.bytes, 0);
    const many = Array.from({ length: 200 }, () => spares.keep(Buffer.alloc(64 * KIB)));
    for (const copy of many) spares.release(copy);
    assert.equal(spares.bytes, MAX_SPARE_BYTES);
  });

  it('never gives out memory that is in use', () => {
    const sizes = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 70_000 }));
    fc.assert(
      fc.property(fc.array(fc.tuple(sizes, fc.nat(9)), { maxLength: 200 }), (steps) => {
        const spares = new Spares();
        const held: { copy: Buffer; mark: number }[] = [];
        steps.forEach(([length, which], mark) => {
          const [gone] = which < held.length ? held.splice(which, 1) : [];
          if (gone !== undefined) spares.release(gone.copy);
          held.push({ copy: spares.keep(Buffer.alloc(length, mark % 256)), mark });
        });
        for (const { copy, mark } of held) assert.ok(copy.every((byte) => byte === mark % 256));
      }),
    );
  });
});
