/**
 * The set arithmetic against sets of numbers, in small universes at the edges of the address space.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ADDRESS_BITS, addressFromNumber, type Family } from '../../../src/net/address.ts';
import {
  type Prefix,
  parsePrefix,
  prefixAround,
  prefixBounds,
  prefixNotation,
} from '../../../src/net/prefix.ts';
import {
  comparePrefixes,
  mergePrefixes,
  PrefixSet,
  subtractPrefixes,
} from '../../../src/net/prefixset.ts';

const UNIVERSE_BITS = 6;
const UNIVERSE_SIZE = 1 << UNIVERSE_BITS;
const UNIVERSES: readonly (readonly [Family, bigint])[] = [
  [4, 0n],
  [4, 0x0a00_0000n],
  [4, 0x7fff_ffc0n],
  [4, 0xffff_ffc0n],
  [6, 0n],
  [6, 0xffff_0000_0000n], // IPv4-mapped addresses stay IPv6 here
  [6, 0x2001_0db8n << 96n],
  [6, (1n << 128n) - 64n],
];

const universe = fc.constantFrom(...UNIVERSES);
const parts = fc.array(
  fc.tuple(
    fc.integer({ min: 0, max: UNIVERSE_SIZE - 1 }),
    fc.integer({ min: 0, max: UNIVERSE_BITS }),
  ),
  { maxLength: 12 },
);

function prefixes(
  [of, base]: readonly [Family, bigint],
  from: readonly (readonly [number, number])[],
): Prefix[] {
  return from.map(([offset, bits]) =>
    prefixAround(base + BigInt(offset), of, ADDRESS_BITS[of] - UNIVERSE_BITS + bits),
  );
}

function members(list: readonly Prefix[], base: bigint): Set<number> {
  const set = new Set<number>();
  for (const prefix of list) {
    const { first, last } = prefixBounds(prefix);
    for (let value = first; value <= last; value += 1n) set.add(Number(value - base));
  }
  return set;
}

/**
 * The smallest list for a set of offsets: at each uncovered address the widest prefix that fits.
 */
function smallest(set: ReadonlySet<number>, [of, base]: readonly [Family, bigint]): Prefix[] {
  const list: Prefix[] = [];
  for (let offset = 0; offset < UNIVERSE_SIZE; ) {
    if (!set.has(offset)) {
      offset += 1;
      continue;
    }
    let size = UNIVERSE_SIZE;
    const fits = () =>
      offset % size === 0 &&
      Array.from({ length: size }, (_, i) => offset + i).every((x) => set.has(x));
    while (!fits()) size /= 2;
    list.push(prefixAround(base + BigInt(offset), of, ADDRESS_BITS[of] - Math.log2(size)));
    offset += size;
  }
  return list;
}

describe('mergePrefixes', () => {
  it('gives the smallest sorted list of the union', () => {
    fc.assert(
      fc.property(universe, parts, (where, from) => {
        const list = prefixes(where, from);
        assert.deepEqual(mergePrefixes(list), smallest(members(list, where[1]), where));
      }),
      { numRuns: 500 },
    );
  });

  it('joins halves up to everything', () => {
    const halves = ['0.0.0.0/1', '128.0.0.0/1', '8000::/1', '::/1'].map(
      (text) => parsePrefix(text).prefix,
    );
    assert.deepEqual(mergePrefixes(halves).map(prefixNotation), ['0.0.0.0/0', '::/0']);
  });

  it('leaves its argument alone', () => {
    const list = Object.freeze(
      ['10.1.0.0/16', '10.0.0.0/16'].map((text) => parsePrefix(text).prefix),
    );
    assert.deepEqual(mergePrefixes(list).map(prefixNotation), ['10.0.0.0/15']);
    assert.equal(list.length, 2);
  });
});

describe('subtractPrefixes', () => {
  it('gives the smallest sorted list of the difference', () => {
    fc.assert(
      fc.property(universe, parts, parts, (where, from, what) => {
        const [list, taken] = [prefixes(where, from), prefixes(where, what)];
        const gone = members(taken, where[1]);
        const left = new Set([...members(list, where[1])].filter((offset) => !gone.has(offset)));
        assert.deepEqual(subtractPrefixes(list, taken), smallest(left, where));
      }),
      { numRuns: 500 },
    );
  });

  it('costs one prefix a bit when one address is taken out of everything', () => {
    const everything = [parsePrefix('0/0').prefix, parsePrefix('::/0').prefix];
    const left = subtractPrefixes(everything, [
      parsePrefix('192.0.2.1').prefix,
      parsePrefix('2001:db8::1').prefix,
    ]);
    assert.equal(left.filter(({ family }) => family === 4).length, 32);
    assert.equal(left.filter(({ family }) => family === 6).length, 128);
  });

  it('leaves the other family alone', () => {
    const [from, what] = [[parsePrefix('::/0').prefix], [parsePrefix('0/0').prefix]];
    assert.deepEqual(subtractPrefixes(from, what), from);
  });
});

describe('PrefixSet', () => {
  it('contains what its prefixes contain', () => {
    fc.assert(
      fc.property(universe, parts, (where, from) => {
        const [of, base] = where;
        const list = prefixes(where, from);
        const set = new PrefixSet(list);
        const expected = members(list, base);
        for (let offset = 0; offset < UNIVERSE_SIZE; offset += 1) {
          const address = addressFromNumber(base + BigInt(offset), of);
          assert.equal(set.contains(address), expected.has(offset), address);
        }
        assert.deepEqual(set.prefixes, smallest(expected, where));
      }),
      { numRuns: 100 },
    );
  });

  it('keeps the families apart', () => {
    const set = new PrefixSet([parsePrefix('0/0').prefix]);
    assert.equal(set.contains('10.0.0.1'), true);
    assert.equal(set.contains('2001:db8::1'), false);
    assert.equal(new PrefixSet([]).contains('10.0.0.1'), false);
  });
});

describe('comparePrefixes', () => {
  it('sorts by family, address, and the wider first', () => {
    const sorted = [
      '9.0.0.0/8',
      '10.0.0.0/8',
      '10.0.0.0/16',
      '10.0.1.0/24',
      '::/0',
      '2001:db8::/32',
    ];
    const shuffled = [...sorted].reverse().map((text) => parsePrefix(text).prefix);
    assert.deepEqual(shuffled.sort(comparePrefixes).map(prefixNotation), sorted);
  });
});
