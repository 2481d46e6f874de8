import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { LruMap } from '../../../src/base/lrumap.ts';

describe('LruMap', () => {
  it('lets go of what was used longest ago', () => {
    const gone: [string, number][] = [];
    const map = new LruMap<string, number>({
      limit: 2,
      evicted: (value, key) => gone.push([key, value]),
    });
    map.set('a', 1);
    map.set('b', 2);
    assert.equal(map.get('a'), 1);
    assert.equal(map.peek('b'), 2);
    map.set('c', 3);
    assert.deepEqual(gone, [['b', 2]]);
    assert.deepEqual(
      [...map],
      [
        ['a', 1],
        ['c', 3],
      ],
    );
  });

  it('says of what is replaced or deleted that it was evicted in no case', () => {
    let evicted = 0;
    const map = new LruMap<string, number>({ limit: 1, evicted: () => evicted++ });
    map.set('a', 1);
    map.set('a', 2);
    assert.equal(map.delete('a'), true);
    assert.equal(map.delete('a'), false);
    map.set('b', 3);
    assert.equal(evicted, 0);
  });

  it('keeps nothing that is heavier than all may be', () => {
    const map = new LruMap<string, number>({
      limit: 10,
      weight: { limit: 5, of: (value) => value },
    });
    map.set('light', 2);
    map.set('heavy', 6);
    assert.equal(map.size, 0);
    map.set('fits', 5);
    assert.equal(map.get('fits'), 5);
  });

  it('has let go of an entry when it says so', () => {
    const sizes: number[] = [];
    const map = new LruMap<number, number>({ limit: 1, evicted: () => sizes.push(map.size) });
    map.set(1, 1);
    map.set(2, 2);
    assert.deepEqual(sizes, [1]);
  });

  it('does as a list that is searched from end to end', () => {
    const key = fc.integer({ min: 0, max: 7 });
    const step = fc.oneof(
      fc.record({ do: fc.constant('set' as const), key, value: fc.integer({ min: 1, max: 9 }) }),
      fc.record({ do: fc.constantFrom('get' as const, 'peek' as const, 'delete' as const), key }),
    );
    const limits = fc.record({
      limit: fc.integer({ min: 1, max: 5 }),
      heaviest: fc.option(fc.integer({ min: 1, max: 20 }), { nil: undefined }),
    });
    fc.assert(
      fc.property(limits, fc.array(step, { maxLength: 60 }), ({ limit, heaviest }, steps) => {
        const gone: [number, number][] = [];
        const lost: [number, number][] = [];
        const map = new LruMap<number, number>({
          limit,
          ...(heaviest !== undefined && { weight: { limit: heaviest, of: (value) => value } }),
          evicted: (value, at) => gone.push([at, value]),
        });
        let list: [number, number][] = [];
        const weight = () => list.reduce((sum, [, value]) => sum + value, 0);
        for (const one of steps) {
          const found = list.find(([at]) => at === one.key);
          const others = list.filter((entry) => entry !== found);
          if (one.do === 'set') {
            map.set(one.key, one.value);
            list = [...others, [one.key, one.value]];
            while (list.length > limit || weight() > (heaviest ?? Number.POSITIVE_INFINITY)) {
              const [oldest] = list.splice(0, 1);
              if (oldest !== undefined) lost.push(oldest);
            }
          } else if (one.do === 'get') {
            assert.equal(map.get(one.key), found?.[1]);
            if (found !== undefined) list = [...others, found];
          } else if (one.do === 'peek') {
            assert.equal(map.peek(one.key), found?.[1]);
          } else {
            assert.equal(map.delete(one.key), found !== undefined);
            list = others;
          }
          assert.deepEqual([...map], list);
          assert.equal(map.size, list.length);
          assert.deepEqual(gone, lost);
        }
      }),
    );
  });
});
