import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseExclusion, parseTarget, separateNames } from '../../../src/config/target.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import type { Place } from '../../../src/net/place.ts';
import { formatPorts } from '../../../src/net/ports.ts';
import { prefixNotation } from '../../../src/net/prefix.ts';

const TARGET: Place = { kind: 'argument', name: 'target' };
const EXCLUDE: Place = { kind: 'option', name: '-x' };

describe('parseTarget', () => {
  const table: readonly (readonly [text: string, prefix: string, ports: string])[] = [
    ['10.0.0.0/8', '10.0.0.0/8', ''],
    ['10/8', '10.0.0.0/8', ''],
    ['0/0', '0.0.0.0/0', ''],
    ['192.168.1.7', '192.168.1.7/32', ''],
    ['10.0.0.0/8:443', '10.0.0.0/8', '443'],
    ['10/8:443', '10.0.0.0/8', '443'],
    ['10.0.0.0/8:8000-8100', '10.0.0.0/8', '8000-8100'],
    ['10.0.0.0/8:80,443,8000-8100', '10.0.0.0/8', '80,443,8000-8100'],
    ['10.0.0.0/255.0.0.0:443', '10.0.0.0/8', '443'],
    ['192.168.1.7:22', '192.168.1.7/32', '22'],
    ['2001:db8::/32', '2001:db8::/32', ''],
    ['::/0', '::/0', ''],
    ['2001:db8::1', '2001:db8::1/128', ''],
    ['[2001:db8::]/32:443', '2001:db8::/32', '443'],
    ['[2001:db8::]/32', '2001:db8::/32', ''],
    ['[2001:db8::1]:443', '2001:db8::1/128', '443'],
    ['[2001:db8::1]', '2001:db8::1/128', ''],
    ['[2001:db8::/32]:443', '2001:db8::/32', '443'],
    ['2001:db8::/32:443', '2001:db8::/32', '443'],
    ['::ffff:10.0.0.0/104:443', '10.0.0.0/8', '443'],
    ['169.254.169.254', '169.254.169.254/32', ''],
  ];
  for (const [text, prefix, ports] of table) {
    it(`reads ${text}`, () => {
      const { target, notes } = parseTarget(text, TARGET);
      assert.equal(prefixNotation(target.prefix), prefix);
      assert.equal(formatPorts(target.ports), ports);
      assert.equal(target.text, text);
      assert.deepEqual(notes, []);
    });
  }

  it('notes host bits', () => {
    assert.deepEqual(parseTarget('10.0.0.1/8:80', TARGET).notes, [
      '10.0.0.1/8 has host bits set, it is read as 10.0.0.0/8',
    ]);
  });

  it('notes an IPv6 address that ends like a port', () => {
    const { target, notes } = parseTarget('2001:db8::1:443', TARGET);
    assert.equal(prefixNotation(target.prefix), '2001:db8::1:443/128');
    assert.deepEqual(notes, [
      '2001:db8::1:443 is read as an address without a port; if you mean port 443, write [2001:db8::1]:443',
    ]);
    for (const unsuspicious of [
      '2001:db8::443',
      '2001:db8::1:2:a',
      '2001:db8:1:2:3:4:5:443',
      '2001:db8::1:1',
    ]) {
      assert.deepEqual(parseTarget(unsuspicious, TARGET).notes, [], unsuspicious);
    }
  });

  const wrong: readonly (readonly [text: string, message: RegExp, hint?: RegExp])[] = [
    ['', /^target: "".*|^target "": the address is missing/],
    ['10.0.0.0/33', /^target: "10\.0\.0\.0\/33" has a prefix length of 33/],
    [
      '10.0.0.0/33:443',
      /^target "10\.0\.0\.0\/33:443": "10\.0\.0\.0\/33" has a prefix length of 33/,
    ],
    ['10.0.0.1.2', /5 parts/],
    ['010.0.0.1', /octal/],
    ['10.0.0.0/8:', /the port is missing/],
    ['10.0.0.0/8:0', /0 is not a port number/],
    [
      '10.0.0.0/8:70000',
      /^target "10\.0\.0\.0\/8:70000": 70000 is not a port number: ports are 1 to 65535/,
    ],
    ['10.0.0.0/8:https', /"https" is not a port number/],
    ['10.0.0.0/8:90-80', /ends before it begins/, /write 80-90/],
    ['10.0.0.0:443/8', /its ports before the prefix length/, /write 10\.0\.0\.0\/8:443/],
    ['api.example.com/24', /"api\.example\.com\/24" begins with a name/, /api\.example\.com:443/],
    [
      'https://api.example.com/',
      /^target "https:\/\/api\.example\.com\/": this is a URL/,
      /^write api\.example\.com:443$/,
    ],
    ['http://API.example.com', /this is a URL/, /^write api\.example\.com:80$/],
    ['https://api.example.com:8774/v2.1?x', /this is a URL/, /^write api\.example\.com:8774$/],
    ['HTTPS://[2001:db8::1]/', /this is a URL/, /^write \[2001:db8::1\]:443$/],
    ['tcp://10.0.0.1:5000', /this is a URL/, /^write 10\.0\.0\.1:5000$/],
    ['tcp://10.0.0.1', /this is a URL/, /^write 10\.0\.0\.1$/],
    ['https://', /this is a URL/, /api\.example\.com:443/],
    ['user@jumphost', /is not an address/],
    ['1080', /"1080" has a port and no address/, /--listen 127\.0\.0\.1:1080$/],
    [':443', /":443" has a port and no address/, /^write 10\.0\.0\.0\/8:443;/],
    [
      '10.0.0.0/8x',
      /a prefix length that isn't a number \("8x"\)/,
      /did you mean 10\.0\.0\.0\/8\?/,
    ],
    ['1O.0.0.1', /"1O" is not a decimal number/, /did you mean 10\.0\.0\.1\?/],
    ['10.0.0.O', /"O" is not a decimal number/, /did you mean 10\.0\.0\.0\?/],
    ['10.0.0.O/8', /"O" is not a decimal number/, /did you mean 10\.0\.0\.0\/8\?/],
    ['l92.l68.1.7:443', /"l92" is not a decimal number/, /did you mean 192\.168\.1\.7:443\?/],
    ['10.0.0,0', /"0,0" is not a decimal number/, /did you mean 10\.0\.0\.0\?/],
    ['10.0.0.1x', /"1x" is not a decimal number/, /did you mean 10\.0\.0\.1\?/],
    ['10.0.0.0\\8', /"0\\\\8" is not a decimal number/, /did you mean 10\.0\.0\.0\/8\?/],
    ['10.0.0.0-10.0.0.9', /"0-10" is not a decimal number/, /^write 10\.0\.0\.0\/8/],
    ['[2001:db8::1', /a "\[" without "\]"/],
    ['2001:db8::1]:443', /a "\]" without "\["/],
    ['[2001:db8::1]443', /has "443" after the "\]"/],
    ['[10.0.0.1]:443', /brackets around something that is not an IPv6 address/],
    ['[2001:db8::/32]/32', /more than one "\/"/],
    [
      '10.0.0.0/8,172.16.0.0/12:443',
      /has several targets in one word/,
      /write them with blanks between them: 10\.0\.0\.0\/8 172\.16\.0\.0\/12:443$/,
    ],
    ['10.0.0.1,10.0.0.2', /has several targets in one word/],
    ['2001:db8::/32,10/8', /has several targets in one word/],
    // The port makes nine groups, or a group that is no hexadecimal number.
    ['2001:db8:1:2:3:4:5:6:443', /9 groups/, /write \[2001:db8:1:2:3:4:5:6\]:443/],
    ['2001:db8::1:8000-8100', /contains "-"/, /write \[2001:db8::1\]:8000-8100/],
    ['2001:db8::1:65000', /more than four digits/, /write \[2001:db8::1\]:65000/],
    [
      '127.0.0.1',
      /127\.0\.0\.1 is a loopback address \(127\.0\.0\.0\/8\), which is never captured/,
    ],
    ['::1', /loopback/],
    ['127/8:80', /loopback/],
    ['224.0.0.0/4', /multicast/],
    ['ff02::1', /multicast/],
    ['255.255.255.255', /broadcast/],
    ['198.18.0.0/15', /this program's own/],
    ['fe80::1', /link-local/],
    ['0.0.0.10', /this network/],
  ];
  for (const [text, message, hint] of wrong) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(
        () => parseTarget(text, TARGET),
        (error) => {
          assert.ok(error instanceof UsageError);
          assert.match(error.message, message);
          assert.match(error.message, /^target/);
          if (hint !== undefined) assert.match(error.hint ?? '', hint);
          return true;
        },
      );
    });
  }
});

describe('parseExclusion', () => {
  it('takes what can never be a target', () => {
    assert.equal(
      prefixNotation(parseExclusion('127.0.0.0/8', EXCLUDE).target.prefix),
      '127.0.0.0/8',
    );
  });

  it('names its place in errors', () => {
    assert.throws(
      () => parseExclusion('10.0.0.0/40', { kind: 'file', path: 'offices.txt', line: 7 }),
      /^UsageError: offices\.txt:7: "10\.0\.0\.0\/40"/,
    );
  });
});

describe('separateNames', () => {
  const separate = (...texts: string[]) =>
    separateNames(texts.map((text) => ({ text, place: TARGET })));

  it('tells names from addresses', () => {
    const names = [
      'api.example.com',
      '*.example.com:443,8000-8100',
      'localhost',
      'Bücher.example',
      'cafe',
      'a.',
      '7z',
      '3com.example',
      '10.20.30.example.com',
      '1.2.3.4.nip.io',
      '0.0.10.in-addr.arpa',
      'oil.il',
      '*.1o.example',
    ];
    const mistyped = ['10.0.0,0', '10.0.0.O', '10.0.0.1x', 'l0.0.0.l', '10.0.0.0-8', '10.0.0.1|2'];
    const addresses = [
      ...mistyped,
      '10/8',
      '10.0.0.1',
      '10.0.0.0/8:443',
      '2001:db8::/32',
      '[::1]:80',
      '::1',
      '127.1',
      'cafe::1',
      '1.2.3.4:x',
    ];
    assert.deepEqual(
      separate(...names, ...addresses).addresses.map(({ text }) => text),
      addresses,
    );
    assert.deepEqual(
      separate(...names).names.map(({ pattern: { name, below } }) => `${below ? '*.' : ''}${name}`),
      [
        ...['api.example.com', '*.example.com', 'localhost', 'xn--bcher-kva.example', 'cafe', 'a'],
        ...['7z', '3com.example', '10.20.30.example.com', '1.2.3.4.nip.io', '0.0.10.in-addr.arpa'],
        ...['oil.il', '*.1o.example'],
      ],
    );
    assert.deepEqual(separate('a:1-2').names[0]?.ports, [{ first: 1, last: 2 }]);
  });

  it('says what is wrong with a name', () => {
    for (const text of ['-5', '-x', '*.', 'a..b', 'a:0', 'a:', 'a.*.b', '*'])
      assert.throws(() => separate(text), UsageError, text);
  });
});
