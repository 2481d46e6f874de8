/** Bytes that wait, against the same bytes in one buffer; and memory that is used again. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Slab } from '../../../src/flow/memory.ts';
import { PieceQueue } from '../../../src/flow/piecequeue.ts';
import { CountingPool } from '../../support/countingpool.ts';
import { processorMs } from '../../support/until.ts';

const BLOCK_BYTES = 32 * 1024;
const SLAB_BYTES = 40_000;
const SMALL_BYTES = 16 * 1024;

/** The bytes of `parts`, which must be full up to the first that is undefined. */
function bytesOf(parts: readonly (Buffer | undefined)[]): Buffer {
  const used = parts.indexOf(undefined);
  const full = used === -1 ? parts : parts.slice(0, used);
  assert.ok(parts.slice(full.length).every((part) => part === undefined));
  return Buffer.concat(full.filter((part) => part !== undefined));
}

describe('Pieces', () => {
  it('of few bytes are put together, however many come', () => {
    const pieces = new PieceQueue();
    const slab = new Slab(SLAB_BYTES);
    for (let n = 0; n < 300_000; n++)
      pieces.push(slab.bytes.subarray(n % 100, (n % 100) + 1), slab);
    const parts = [undefined, undefined, undefined, undefined];
    assert.ok(pieces.gather(100_000, 100_000, parts) > 64 * 1024, 'four parts hold much');
    assert.ok(pieces.borrowed <= 1);
    while (pieces.bytes > 0) pieces.drop(Math.min(pieces.bytes, 1 + (pieces.bytes % 3)));
    assert.equal(slab.shared, false);
  });

  const size = fc.oneof(
    fc.integer({ min: 1, max: 40 }),
    fc.integer({ min: 1, max: SLAB_BYTES }),
    fc.constantFrom(BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1),
  );
  /** As a fraction of what there is. */
  const part = fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true }));
  const action = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({ kind: fc.constantFrom('borrow' as const, 'own' as const), size }),
    },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('gather' as const),
        from: part,
        length: part,
        parts: fc.integer({ min: 1, max: 4 }),
      }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('drop' as const), part }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constantFrom('settle' as const, 'clear' as const) }),
    },
  );

  it('are what one buffer with the same bytes would be, and hold no memory that they do not need', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 100, size: 'max' }), (actions) => {
        const pool = new CountingPool(SLAB_BYTES, 0);
        const pieces = new PieceQueue();
        let model = Buffer.alloc(0);
        /**
         * Ends of the borrowed views in what has ever been pushed, and how many bytes have been
         * dropped.
         */
        let views: { begin: number; end: number }[] = [];
        let [pushed, dropped] = [0, 0];
        const borrowed = (): number =>
          views.reduce(
            (sum, { begin, end }) => sum + Math.max(0, end - Math.max(begin, dropped)),
            0,
          );
        for (const each of actions) {
          switch (each.kind) {
            case 'borrow':
            case 'own': {
              const slab = each.kind === 'borrow' ? pool.take() : undefined;
              const memory = slab?.bytes ?? Buffer.alloc(each.size);
              const view = memory.subarray(0, each.size);
              for (let at = 0; at < view.length; at++) view[at] = (pushed + at) * 7;
              pieces.push(view, slab);
              slab?.release();
              // What is small is copied behind what waits.
              const kept = model.length === 0 || each.size >= SMALL_BYTES;
              if (slab !== undefined && kept)
                views.push({ begin: pushed, end: pushed + each.size });
              pushed += each.size;
              model = Buffer.concat([model, view]);
              break;
            }
            case 'gather': {
              const offset = Math.floor(each.from * model.length);
              const length = Math.floor(each.length * (model.length - offset + 10));
              const into: (Buffer | undefined)[] = Array.from({ length: each.parts }, () =>
                Buffer.of(1),
              );
              const gathered = pieces.gather(offset, length, into);
              const bytes = bytesOf(into);
              assert.equal(bytes.length, gathered);
              assert.ok(bytes.equals(model.subarray(offset, offset + gathered)));
              const admitted = Math.min(length, model.length - offset);
              assert.ok(gathered <= admitted);
              // Less only if there were not parts enough.
              if (gathered < admitted)
                assert.equal(into.filter((one) => one !== undefined).length, each.parts);
              break;
            }
            case 'drop': {
              const bytes = Math.floor(each.part * model.length);
              pieces.drop(bytes);
              dropped += bytes;
              model = model.subarray(bytes);
              break;
            }
            case 'settle':
              pieces.settle();
              views = [];
              break;
            case 'clear':
              pieces.clear();
              dropped = pushed;
              model = Buffer.alloc(0);
              break;
          }
          views = views.filter(({ end }) => end > dropped);
          assert.equal(pieces.bytes, model.length);
          assert.equal(pieces.borrowed, borrowed());
          assert.equal(pool.live, views.length, 'one slab for each view of which bytes are left');
          const { first } = pieces;
          assert.equal(first === undefined, model.length === 0);
          if (first !== undefined)
            assert.ok(first.length > 0 && first.equals(model.subarray(0, first.length)));
        }
        pieces.clear();
        assert.equal(pool.live, 0);
      }),
      { numRuns: 300 },
    );
  });

  it('that are put together are found from their end on', () => {
    const pieces = new PieceQueue();
    const parts: (Buffer | undefined)[] = [undefined];
    for (const text of ['a', 'b', 'c', 'd']) {
      pieces.push(Buffer.from(text), undefined);
      assert.equal(pieces.gather(pieces.bytes - 1, 1, parts), 1);
      assert.equal(parts[0]?.toString(), text);
      assert.equal(pieces.gather(pieces.bytes, 1, parts), 0);
    }
  });

  it('lie together in blocks, as far as they are small', () => {
    const pieces = new PieceQueue();
    const pool = new CountingPool(SLAB_BYTES, 0);
    for (let piece = 0; piece < 100; piece++) {
      const slab = pool.take();
      pieces.push(slab.bytes.fill(piece).subarray(0, 1_000), slab);
      slab.release();
    }
    pieces.settle();
    assert.equal(pool.live, 0);
    assert.equal(pieces.borrowed, 0);
    let memory = 0;
    for (let at = 0; at < 100_000; ) {
      const { first } = pieces;
      assert.ok(first !== undefined);
      memory += first.buffer.byteLength;
      at += first.length;
      pieces.drop(first.length);
    }
    assert.ok(memory <= 100_000 + BLOCK_BYTES, `${memory} bytes for 100,000`);
  });

  it('of their own are left where they are when the others are settled', () => {
    const pieces = new PieceQueue();
    const slab = new Slab(10);
    const own = Buffer.alloc(BLOCK_BYTES);
    pieces.push(own, undefined);
    pieces.push(slab.bytes, slab);
    pieces.settle();
    assert.equal(pieces.first, own);
  });

  it('gather from the end of many in a time that does not grow with them', () => {
    const many = 200_000;
    const begin = processorMs();
    const pieces = new PieceQueue();
    const parts: (Buffer | undefined)[] = [undefined, undefined];
    const byte = Buffer.of(1);
    for (let piece = 0; piece < many; piece++) {
      pieces.push(byte, undefined);
      assert.equal(pieces.gather(piece, 1, parts), 1);
    }
    // A walk from the beginning each time would be 2 * 10^10 steps.
    assert.ok(processorMs() - begin < 5_000);
  });
});
