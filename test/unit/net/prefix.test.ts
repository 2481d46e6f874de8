import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { addressFromNumber, addressNumber } from '../../../src/net/address.ts';
import { NotationError } from '../../../src/net/notation.ts';
import {
  formatPrefix,
  hostPrefix,
  parsePrefix,
  prefixAround,
  prefixBounds,
  prefixContains,
  prefixNotation,
} from '../../../src/net/prefix.ts';

describe('parsePrefix', () => {
  const table: readonly (readonly [text: string, notation: string])[] = [
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['10.1.2.3', '10.1.2.3/32'],
    ['10.1.2.3/32', '10.1.2.3/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['255.255.255.255', '255.255.255.255/32'],
    // sshuttle's short forms
    ['10/8', '10.0.0.0/8'],
    ['0/0', '0.0.0.0/0'],
    ['192.168/16', '192.168.0.0/16'],
    ['172.16/12', '172.16.0.0/12'],
    ['192.168.7/24', '192.168.7.0/24'],
    ['10/24', '10.0.0.0/24'],
    ['10.0.0.0/255.0.0.0', '10.0.0.0/8'],
    ['10/255.255.0.0', '10.0.0.0/16'],
    ['10.0.0.0/0.0.0.0', '0.0.0.0/0'],
    ['2001:db8::/32', '2001:db8::/32'],
    ['2001:DB8:0:0::/32', '2001:db8::/32'],
    ['2001:db8::1', '2001:db8::1/128'],
    ['::/0', '::/0'],
    // IPv4-mapped: IPv4 from 96 bits on
    ['::ffff:10.1.2.3', '10.1.2.3/32'],
    ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
    ['::ffff:0:0/96', '0.0.0.0/0'],
    ['::ffff:0:0/80', '::/80'],
    ['64:ff9b::10.0.0.0/104', '64:ff9b::a00:0/104'],
  ];
  for (const [text, notation] of table) {
    it(`reads ${text} as ${notation}`, () => {
      const { prefix } = parsePrefix(text);
      assert.equal(prefixNotation(prefix), notation);
      assert.equal(prefix.family, notation.includes(':') ? 6 : 4);
    });
  }

  const withHostBits: readonly (readonly [text: string, notation: string])[] = [
    ['10.0.0.1/8', '10.0.0.0/8'],
    ['192.168.1/16', '192.168.0.0/16'],
    ['10.1.2.3/255.255.0.0', '10.1.0.0/16'],
    ['10.1.2.3/0', '0.0.0.0/0'],
    ['2001:db8::1/32', '2001:db8::/32'],
    ['::ffff:10.1.2.3/104', '10.0.0.0/8'],
  ];
  for (const [text, notation] of withHostBits) {
    it(`notes that ${text} is read as ${notation}`, () => {
      const { prefix, note } = parsePrefix(text);
      assert.equal(prefixNotation(prefix), notation);
      assert.equal(note, `${text} has host bits set, it is read as ${notation}`);
    });
  }

  const wrong: readonly (readonly [text: string, message: RegExp])[] = [
    ['', /the address is missing/],
    [
      '10.0.0.0/33',
      /"10\.0\.0\.0\/33" has a prefix length of 33, an IPv4 prefix has at most 32 bits/,
    ],
    ['10/33', /length of 33/],
    ['2001:db8::/129', /length of 129, an IPv6 prefix has at most 128 bits/],
    ['10.0.0.1.2', /5 parts/],
    ['10.0.0.1.2/8', /5 parts/],
    ['010.0.0.1', /leading zero \(010\).*octal/],
    ['010/8', /leading zero \(010\).*octal/],
    ['0x0a/8', /"0x0a" is not a decimal number/],
    ['10.0.0.0/-1', /a prefix length that isn't a number \("-1"\)/],
    ['10.0.0.0/08', /a prefix length with a leading zero \(\/08\)/],
    ['10.0.0.0/8.', /empty part/],
    ['10.0.0.0/1e1', /isn't a number/],
    ['10.0.0.0/ 8', /isn't a number/],
    ['1.2.3.4/', /no prefix length after the "\/"/],
    ['/8', /no address before the "\/"/],
    ['10.0.0.0/8/8', /more than one "\/"/],
    ['300.1.1.1', /above 255 \(300\)/],
    ['300/8', /above 255 \(300\)/],
    ['10', /neither an address nor a prefix/],
    ['10.1', /neither an address nor a prefix/],
    ['10./8', /empty part/],
    ['10.0.0.0/255.0.255.0', /mask that isn't a row of ones/],
    ['10.0.0.0/0.0.0.255', /mask that isn't a row of ones/],
    ['10.0.0.0/255.0.0', /3 parts/],
    ['10.0.0.0/255.0.0.256', /above 255/],
    ['fe80::1%eth0/64', /zone id/],
    ['2001:db8::/ffff::', /isn't a number/],
    ['2001:db8/32', /2 groups and no "::"/],
  ];
  for (const [text, message] of wrong) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(
        () => parsePrefix(text),
        (error) => error instanceof NotationError && message.test(error.message),
      );
    });
  }

  it('says how a short form is completed', () => {
    assert.throws(() => parsePrefix('10.1'), { hint: /such as 10\.1\/16$/ });
  });

  it('reads back what it writes', () => {
    fc.assert(
      fc.property(anyPrefix, (prefix) => {
        for (const text of [formatPrefix(prefix), prefixNotation(prefix)]) {
          assert.deepEqual(parsePrefix(text), { prefix, note: undefined });
        }
      }),
    );
  });
});

const anyPrefix = fc.oneof(
  fc
    .tuple(fc.bigInt({ min: 0n, max: (1n << 32n) - 1n }), fc.integer({ min: 0, max: 32 }))
    .map(([value, length]) => prefixAround(value, 4, length)),
  fc
    // Outside ::/64, where mapped addresses are: those read back as IPv4.
    .tuple(fc.bigInt({ min: 1n << 64n, max: (1n << 128n) - 1n }), fc.integer({ min: 64, max: 128 }))
    .map(([value, length]) => prefixAround(value, 6, length)),
);

describe('prefixes', () => {
  it('have bounds', () => {
    const { first, last } = prefixBounds(parsePrefix('10.1.0.0/16').prefix);
    assert.equal(addressFromNumber(first, 4), '10.1.0.0');
    assert.equal(addressFromNumber(last, 4), '10.1.255.255');
    assert.equal(prefixBounds(parsePrefix('::/0').prefix).last, (1n << 128n) - 1n);
  });

  it('contain each other as their bounds do', () => {
    fc.assert(
      fc.property(anyPrefix, anyPrefix, fc.integer({ min: 0, max: 128 }), (a, other, length) => {
        // Unrelated prefixes hardly ever contain each other, so also one of the same address.
        const bits = a.family === 4 ? 32 : 128;
        const related = prefixAround(addressNumber(a.address), a.family, length % (bits + 1));
        for (const b of [other, related]) {
          const [outer, inner] = [prefixBounds(a), prefixBounds(b)];
          const expected =
            a.family === b.family && outer.first <= inner.first && inner.last <= outer.last;
          assert.equal(prefixContains(a, b), expected);
        }
      }),
    );
  });

  it('of one address are written without length', () => {
    assert.equal(formatPrefix(hostPrefix('10.1.2.3')), '10.1.2.3');
    assert.equal(formatPrefix(hostPrefix('2001:db8::1')), '2001:db8::1');
    assert.deepEqual(hostPrefix('::1'), { family: 6, address: '::1', length: 128 });
  });
});
