import assert from 'node:assert/strict';
import { isIPv6 } from 'node:net';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  addressBytes,
  addressFromBytes,
  addressFromNumber,
  addressNumber,
  canonicalAddress,
  family,
  isAddress,
} from '../../../src/net/address.ts';
import { NotationError } from '../../../src/net/notation.ts';

const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
const ipv6 = fc
  // Zero groups are what RFC 5952 is about, so they must be frequent.
  .array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), {
    minLength: 8,
    maxLength: 8,
  })
  // A mapped address is written as the IPv4 address that it stands for; it has a test of its own.
  .filter((groups) => groups[5] !== 0xffff || groups.slice(0, 5).some((group) => group !== 0))
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])));

describe('canonicalAddress', () => {
  const table: readonly (readonly [text: string, canonical: string])[] = [
    ['10.0.0.1', '10.0.0.1'],
    ['0.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['2001:DB8::1', '2001:db8::1'],
    ['2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8::1'],
    // RFC 5952 §4.2.2: one zero group stays; §4.2.3: the longest run, of equal ones the first.
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['::ffff:10.1.2.3', '10.1.2.3'],
    ['::FFFF:0a01:0203', '10.1.2.3'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['::10.1.2.3', '::a01:203'],
  ];
  for (const [text, canonical] of table) {
    it(`${text} is ${canonical}`, () => assert.equal(canonicalAddress(text), canonical));
  }

  const wrong: readonly (readonly [text: string, message: RegExp])[] = [
    ['', /address is missing/],
    [
      '010.0.0.1',
      /"010\.0\.0\.1" has a part with a leading zero \(010\), which some programs read as octal/,
    ],
    ['10.0.0.00', /leading zero \(00\)/],
    ['0x7f.0.0.1', /"0x7f" is not a decimal number/],
    ['10.0.0.1.2', /has 5 parts, an IPv4 address has four/],
    ['10.0.0', /has 3 parts/],
    ['10', /has one part/],
    ['300.1.1.1', /a part above 255 \(300\)/],
    ['1..2.3', /an empty part/],
    ['1.2.3.4 ', /"4 " is not a decimal number/],
    ['1.2.3.-4', /"-4" is not a decimal number/],
    ['١.2.3.4', /is not a decimal number/],
    ['api.example.com', /"api" is not a decimal number/],
    ['fe80::1%eth0', /zone id/],
    ['1::2::3', /"::" more than once/],
    ['1:2:3:4:5:6:7:8:9', /9 groups/],
    ['1:2:3:4:5:6:7', /7 groups and no "::"/],
    ['2001:db8::12345', /more than four digits \(12345\)/],
    ['2001:db8::g', /contains "g"/],
    ['[::1]', /contains "\["/],
    ['::ffff:10.0.0.256', /is not an IPv6 address/],
    [':1', /one group/],
  ];
  for (const [text, message] of wrong) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(
        () => canonicalAddress(text),
        (error) => error instanceof NotationError && message.test(error.message),
      );
    });
  }
});

describe('addresses as octets and numbers', () => {
  it('come back from text, octets and numbers', () => {
    fc.assert(
      fc.property(fc.oneof(ipv4, ipv6), (bytes) => {
        const text = addressFromBytes(bytes);
        assert.equal(isAddress(text), true);
        assert.equal(canonicalAddress(text), text);
        assert.equal(family(text), bytes.length === 4 ? 4 : 6);
        assert.deepEqual(addressBytes(text), bytes);
        assert.equal(addressFromNumber(addressNumber(text), family(text)), text);
        assert.equal(addressNumber(text), BigInt(`0x${Buffer.from(bytes).toString('hex')}`));
      }),
    );
  });

  it('agree with the URL parser about RFC 5952', () => {
    fc.assert(
      fc.property(ipv6, (bytes) => {
        const full = Buffer.from(bytes)
          .toString('hex')
          .replace(/(.{4})(?!$)/g, '$1:');
        assert.equal(`[${addressFromBytes(bytes)}]`, new URL(`http://[${full}]/`).host);
      }),
    );
  });

  it('keep a mapped address in IPv6 when numbers ask for it', () => {
    const number = addressNumber('::ffff:10.0.0.1');
    assert.equal(number, 0xffff_0a00_0001n);
    assert.equal(addressFromNumber(number, 6), '::ffff:a00:1');
    assert.equal(addressBytes('::ffff:10.0.0.1').length, 16);
    assert.equal(addressFromBytes(addressBytes('::ffff:a00:1')), '10.0.0.1');
  });

  it('refuse octets of another length', () => {
    assert.throws(() => addressFromBytes(new Uint8Array(5)), RangeError);
  });

  it('read octets out of a larger buffer', () => {
    const buffer = new Uint8Array(40).fill(0xee);
    buffer.set(addressBytes('2001:db8::1'), 16);
    assert.equal(addressFromBytes(buffer.subarray(16, 32)), '2001:db8::1');
  });
});

describe('isAddress', () => {
  it('agrees with the runtime, but for zones', () => {
    assert.equal(isIPv6('fe80::1%eth0'), true);
    assert.equal(isAddress('fe80::1%eth0'), false);
    assert.equal(isAddress('example.com'), false);
    assert.equal(isAddress('10.0.0.1'), true);
  });
});
