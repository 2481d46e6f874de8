import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UsageError } from '../../../src/errors/errors.ts';
import { formatPermitted, permittedDestinations } from '../../../src/jumphost/permitted.ts';
import { parseNamePattern } from '../../../src/net/name.ts';
import { parsePorts } from '../../../src/net/ports.ts';
import { parsePrefix } from '../../../src/net/prefix.ts';

const ports = (text: string) => (text === '' ? [] : parsePorts(text));
const prefix = (text: string, of = '') => ({
  prefix: parsePrefix(text).prefix,
  ports: ports(of),
  text: of === '' ? text : `${text}:${of}`,
});
const name = (text: string, of = '') => ({
  pattern: parseNamePattern(text),
  ports: ports(of),
  text: of === '' ? text : `${text}:${of}`,
});
const rendered = (...parameters: Parameters<typeof permittedDestinations>) =>
  permittedDestinations(...parameters).map(formatPermitted);

const LONG_NAME = Array.from({ length: 3 }, () => 'a'.repeat(63)).join('.');

describe('permittedDestinations', () => {
  it('writes each destination in the form that this client sends', () => {
    assert.deepEqual(
      rendered(
        [prefix('10.0.0.5', '443'), prefix('2001:DB8:0::5', '443'), prefix('10.0.0.9')],
        [name('API.Example.com', '8000-8002')],
      ),
      [
        'api.example.com:8000',
        'api.example.com:8001',
        'api.example.com:8002',
        '10.0.0.5:443',
        '10.0.0.9:*',
        '[2001:db8::5]:443',
      ],
    );
  });

  it('expands small prefixes and ranges, up to 256 entries', () => {
    assert.deepEqual(rendered([prefix('192.0.2.0/31', '80,443')], []), [
      '192.0.2.0:80',
      '192.0.2.0:443',
      '192.0.2.1:80',
      '192.0.2.1:443',
    ]);
    assert.equal(rendered([prefix('192.0.2.0/24')], []).length, 256);
    assert.equal(rendered([prefix('192.0.2.1', '1000-1255')], []).length, 256);
  });

  for (const [what, list] of [
    ['a wider prefix', () => rendered([prefix('10.0.0.0/23')], [])],
    ['0/0', () => rendered([prefix('0.0.0.0/0')], [])],
    ['::/0', () => rendered([prefix('::/0')], [])],
    ['more ports', () => rendered([prefix('10.0.0.1', '1000-1256')], [])],
    ['a prefix times ports', () => rendered([prefix('10.0.0.0/25', '80,443,8080')], [])],
    ['a pattern', () => rendered([], [name('*.example.com', '443')])],
    ['nothing', () => rendered([], [])],
    ...['0.0.0.0', '224.0.0.5', '255.255.255.255', '::', 'fe80::1', 'ff02::1'].map(
      (address) => [address, () => rendered([prefix(address, '22')], [])] as const,
    ),
    ['a prefix that holds ::', () => rendered([prefix('::/125', '22')], [])],
    [
      'too many altogether',
      () =>
        rendered(
          Array.from({ length: 17 }, (_, i) => prefix(`10.0.${i}.0/24`)),
          [],
        ),
    ],
    [
      'more text than sshd passes on',
      () =>
        rendered(
          [],
          Array.from({ length: 1000 }, (_, i) => name(`${LONG_NAME}.h${i}.example.com`, '443')),
        ),
    ],
  ] as const) {
    it(`refuses ${what}, with a hint`, () => {
      assert.throws(list, (error) => error instanceof UsageError && error.hint !== undefined);
    });
  }

  it('says no entry twice, nor one that another covers', () => {
    assert.deepEqual(rendered([prefix('10.0.0.1', '80'), prefix('10.0.0.0/31')], []), [
      '10.0.0.0:*',
      '10.0.0.1:*',
    ]);
    assert.deepEqual(rendered([prefix('10.0.0.1', '80'), prefix('10.0.0.1', '80,81')], []), [
      '10.0.0.1:80',
      '10.0.0.1:81',
    ]);
  });
});
