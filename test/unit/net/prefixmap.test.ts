import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { addressFromNumber } from '../../../src/net/address.ts';
import {
  hostPrefix,
  parsePrefix,
  prefixAround,
  prefixContains,
  prefixNotation,
} from '../../../src/net/prefix.ts';
import { type Covering, PrefixMap } from '../../../src/net/prefixmap.ts';

function chain<T>(covering: Covering<T> | undefined): [string, readonly T[]][] {
  return covering === undefined
    ? []
    : [[prefixNotation(covering.prefix), covering.values], ...chain(covering.wider)];
}

const map = (entries: readonly (readonly [string, string])[]) =>
  new PrefixMap(entries.map(([text, value]) => [parsePrefix(text).prefix, value] as const));

describe('PrefixMap', () => {
  it('finds all prefixes that cover an address, the most specific first', () => {
    const found = map([
      ['10.0.0.0/8', 'a'],
      ['10.1.0.0/16', 'b'],
      ['10.1.2.3', 'c'],
      ['10.1.0.0/16', 'd'],
      ['::/0', 'e'],
    ]);
    assert.deepEqual(chain(found.find('10.1.2.3')), [
      ['10.1.2.3/32', ['c']],
      ['10.1.0.0/16', ['b', 'd']],
      ['10.0.0.0/8', ['a']],
    ]);
    assert.deepEqual(chain(found.find('10.1.2.4')), [
      ['10.1.0.0/16', ['b', 'd']],
      ['10.0.0.0/8', ['a']],
    ]);
    assert.deepEqual(chain(found.find('10.2.0.0')), [['10.0.0.0/8', ['a']]]);
    assert.equal(found.find('11.0.0.0'), undefined);
    assert.deepEqual(chain(found.find('::1')), [['::/0', ['e']]]);
  });

  it('handles prefixes that begin and end together', () => {
    const found = map([
      ['10.0.0.0/8', 'outer'],
      ['10.0.0.0/16', 'first'],
      ['10.255.0.0/16', 'last'],
      ['11.0.0.0/8', 'next'],
      ['255.0.0.0/8', 'end'],
    ]);
    assert.equal(found.find('10.0.255.255')?.values[0], 'first');
    assert.equal(found.find('10.1.0.0')?.values[0], 'outer');
    assert.equal(found.find('10.255.255.255')?.values[0], 'last');
    assert.equal(found.find('11.0.0.0')?.values[0], 'next');
    assert.equal(found.find('12.0.0.0'), undefined);
    assert.equal(found.find('255.255.255.255')?.values[0], 'end');
    assert.equal(found.find('9.255.255.255'), undefined);
  });

  it('is empty without entries', () => {
    assert.equal(new PrefixMap<string>([]).find('10.0.0.1'), undefined);
  });

  it('agrees with a scan of all prefixes', () => {
    const nearby = fc.tuple(fc.bigInt({ min: 0n, max: 63n }), fc.integer({ min: 0, max: 6 }));
    fc.assert(
      fc.property(
        fc.array(nearby, { maxLength: 30 }),
        fc.constantFrom(0n, 0xffff_ffc0n),
        (from, base) => {
          const entries = from.map(
            ([offset, bits], index) => [prefixAround(base + offset, 4, 26 + bits), index] as const,
          );
          const prefixMap = new PrefixMap(entries);
          for (let offset = 0n; offset < 64n; offset += 1n) {
            const address = addressFromNumber(base + offset, 4);
            const expected = new Map<string, number[]>();
            for (const [prefix, value] of [...entries].sort(([a], [b]) => b.length - a.length)) {
              if (!prefixContains(prefix, hostPrefix(address))) continue;
              const key = prefixNotation(prefix);
              expected.set(key, [...(expected.get(key) ?? []), value]);
            }
            assert.deepEqual(chain(prefixMap.find(address)), [...expected]);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
