import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { descriptorLimit } from '../../../../src/system/limits.ts';
import {
  configuredResolvers,
  parseResolvConf,
} from '../../../../src/system/resolver/resolvconf.ts';

describe('configuredResolvers', () => {
  it('reads the addresses of a resolv.conf, and nothing else of it', () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
    const file = join(directory, 'resolv.conf');
    writeFileSync(
      file,
      '# nameserver 192.0.2.1\nsearch example.com\nnameserver 10.0.0.53\nnameserver\t2001:DB8::53\nnameserver bogus\n',
    );
    assert.deepEqual(configuredResolvers(file), ['10.0.0.53', '2001:db8::53']);
    rmSync(directory, { recursive: true });
    assert.deepEqual(configuredResolvers(file), []);
  });
});

/** As res_init(3) of glibc 2.36 reads these files, which was tried. */
const GLIBC: readonly (readonly [text: string, resolvers: string[], lines?: string[]])[] = [
  // Blanks, tabs, comments.
  ['nameserver\t 10.0.0.3 \t# the office\n', ['10.0.0.3']],
  [' nameserver 10.0.0.1\nnameserver10.0.0.2\nnameserver\n;nameserver 10.0.0.3\n', []],
  ['nameserver 10.0.0.2;x\nnameserver 10.0.0.1\vx\nnameserver 10.0.0.4\f\n', []],
  ['nameserver 10.0.0.9', ['10.0.0.9']],
  ['sortlist 1.2.3.4\nlookup file bind\nfamily inet4\n', []],
  // inet_aton(3).
  ['nameserver 127.1\n', ['127.0.0.1']],
  ['nameserver 10.1.515\n', ['10.1.2.3']],
  ['nameserver 1\nnameserver 4294967295\n', ['0.0.0.1', '255.255.255.255']],
  [
    'nameserver 0x7f.1\nnameserver 010.0.0.1\nnameserver 0XA.0x0.0.1\n',
    ['127.0.0.1', '8.0.0.1', '10.0.0.1'],
  ],
  ['nameserver 1.2.3.4x\nnameserver 1.2.3.4.5\nnameserver 256.1\nnameserver 1..2\n', []],
  ['nameserver 08.0.0.1\nnameserver 0x\nnameserver 4294967296\nnameserver 1.16777216\n', []],
  // Three at most, also if they are equal; what can't be read doesn't count.
  [
    'nameserver bogus\nnameserver 10.0.0.1\nnameserver 10.0.0.1\nnameserver ::ffff:10.0.0.3\nnameserver 10.0.0.4\n',
    ['10.0.0.1', '10.0.0.1', '10.0.0.3'],
  ],
  // Zones: by name or number for link-local addresses; others have none.
  [
    'nameserver fe80::1%lo\nnameserver FE80::2%gone\nnameserver 2001:DB8::1%lo\n',
    ['fe80::1%lo', 'fe80::2%gone', '2001:db8::1'],
  ],
  ['nameserver fe80::3%1\n', [`fe80::3%${loName()}`]],
  // Search lists and options.
  ['search a\n#search b\nsearch  c \t d \n', [], ['search c d']],
  ['search a b\ndomain c d\nsearch\nsearch \t\n', [], ['domain c']],
  [
    'options ndots:3 rotate\nsearch a\noptions\tndots:9 timeout:2\noptions attempts:4 # x\n',
    [],
    ['search a', 'options ndots:9 rotate timeout:2 attempts:4 # x'],
  ],
];

/** Of the link whose number is 1. It has a scope only where IPv6 is switched on. */
function loName(): string {
  const known = Object.values(networkInterfaces())
    .flat()
    .some((it) => it?.family === 'IPv6' && it.scopeid === 1);
  return known ? 'lo' : '1';
}

describe('parseResolvConf', () => {
  for (const [text, resolvers, lines = []] of GLIBC)
    it(`reads ${JSON.stringify(text)} as glibc does`, () => {
      assert.deepEqual(parseResolvConf(text), { resolvers, lines });
    });

  it('reads lines that end in carriage returns, and says that newer C libraries do not', () => {
    const text = 'search a.example\r\nnameserver 10.0.0.1\r\noptions ndots:2\r\n';
    const lines = ['search a.example', 'options ndots:2'];
    assert.deepEqual(parseResolvConf(text), { resolvers: ['10.0.0.1'], lines, defaultToo: true });
    // Here they take one of them.
    assert.deepEqual(parseResolvConf('nameserver 10.0.0.1\r\nnameserver 10.0.0.2 \r\n'), {
      resolvers: ['10.0.0.1', '10.0.0.2'],
      lines: [],
    });
  });

  it('takes as many lines of options as there are, and no more words than a file of ours holds', () => {
    const many = Array.from({ length: 20 }, (_, i) => `options o${i}:1\n`).join('');
    assert.equal(parseResolvConf(many).lines[0]?.split(' ').length, 21);
    const [search = ''] = parseResolvConf(`search ${'name.example '.repeat(1000)}\n`).lines;
    assert.match(search, /^search( name\.example){70,}$/);
    assert.ok(search.length <= 1024);
  });
});

describe('descriptorLimit', () => {
  it('is what the system says', () => {
    assert.ok(descriptorLimit() >= 256);
  });
});
