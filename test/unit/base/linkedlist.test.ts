import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { LinkedList, ListEntry } from '../../../src/base/linkedlist.ts';

describe('LinkedList', () => {
  it('has what a Set would have, in the same order', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 60 }), (steps) => {
        const list = new LinkedList<number>();
        const set = new Set<number>();
        const entries = Array.from({ length: 10 }, (_, value) => new ListEntry(value));
        for (const value of steps) {
          const entry = entries[value];
          if (entry === undefined) throw new RangeError(`${value}`);
          assert.equal(entry.isListed, set.has(value));
          // Each value enters and leaves in turn.
          if (set.delete(value)) assert.ok(list.delete(entry));
          else {
            assert.ok(!list.delete(entry));
            set.add(value);
            list.add(entry);
          }
          assert.deepEqual(list.values, [...set]);
          assert.equal(list.size, set.size);
          assert.equal(list.first, [...set][0]);
        }
      }),
    );
  });

  it('leaves entries of other lists alone', () => {
    const [one, other] = [new LinkedList<string>(), new LinkedList<string>()];
    const entry = new ListEntry('value');
    one.add(entry);
    assert.equal(other.delete(entry), false);
    assert.deepEqual(one.values, ['value']);
  });

  it('cuts the links of what leaves it, so that nothing else is kept by that', () => {
    const list = new LinkedList<number>();
    const entries = [1, 2, 3].map((value) => new ListEntry(value));
    for (const entry of entries) list.add(entry);
    for (const entry of entries) list.delete(entry);
    for (const { previous, next, list: of } of entries)
      assert.deepEqual([previous, next, of], [undefined, undefined, undefined]);
  });
});
