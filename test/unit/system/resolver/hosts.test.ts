import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { asksHostsFirst, parseHosts } from '../../../../src/system/resolver/hosts.ts';

describe('parseHosts', () => {
  it('reads what hosts(5) has', () => {
    const text = [
      '# a comment',
      '127.0.0.1 localhost',
      '  10.0.0.1\tAPI.example.com api www.example. # with an alias',
      '2001:DB8::1 v6.example',
      'fe80::1%eth0 zoned.example',
      'no.address name.example',
      '10.0.0.2',
      '10.0.0.3 bad_but_used.example strange?.example\r',
      // The C library finds neither.
      '\ufeff10.0.0.4 marked.example',
      '10.0.0.5 spaced.example\u00a0',
      '',
    ].join('\n');
    assert.deepEqual(parseHosts(text), [
      { name: 'localhost', address: '127.0.0.1' },
      { name: 'api.example.com', address: '10.0.0.1' },
      { name: 'api', address: '10.0.0.1' },
      { name: 'v6.example', address: '2001:db8::1' },
      { name: 'bad_but_used.example', address: '10.0.0.3' },
    ]);
  });
});

describe('parseHosts', () => {
  it('takes a name with a dot at its end where systemd-resolved is asked', () => {
    const text = '192.0.2.1 www.test. API.test. a.. .\n';
    const entry = (name: string) => ({ name, address: '192.0.2.1' });
    assert.deepEqual(parseHosts(text), []);
    assert.deepEqual(parseHosts(text, true), [entry('www.test'), entry('api.test')]);
  });
});

describe('glibc', () => {
  it('finds a name of the file without the dot at its end only if it has none there', (t) => {
    const { status: isolated, stderr: why } = spawnSync('unshare', ['-rm', 'true'], {
      encoding: 'utf8',
    });
    if (isolated !== 0) return t.skip(`there are no mount namespaces: ${why}`);
    const found = (name: string): boolean => {
      const script = 'mount --bind "$0" /etc/hosts && getent -s hosts:files hosts "$1"';
      const { status, stderr } = spawnSync('unshare', ['-rm', 'sh', '-c', script, file, name], {
        encoding: 'utf8',
      });
      assert.ok(status === 0 || status === 2, stderr);
      return status === 0;
    };
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-hosts-'));
    const file = join(directory, 'hosts');
    try {
      writeFileSync(file, '192.0.2.1 www.test.\n192.0.2.2 API.test\n');
      const listed = parseHosts(readFileSync(file, 'utf8')).map(({ name }) => name);
      for (const name of ['www.test', 'api.test'])
        assert.equal(listed.includes(name), found(name), name);
      assert.equal(found('www.test.'), true);
      assert.equal(found('api.test.'), false);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('asksHostsFirst', () => {
  for (const [line, first] of [
    ['hosts: files dns', true],
    ['hosts:  files mdns4_minimal [NOTFOUND=return] dns', true],
    ['hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns', true],
    ['hosts: dns files', false],
    ['hosts: dns', false],
    ['passwd: files', true],
    ['#hosts: dns', true],
    // As glibc reads them.
    ['hosts: dns\nhosts: files', true],
    ['hosts: files\nhosts: dns', false],
    ['hosts: files[NOTFOUND=return] dns', true],
    ['hosts: myhostname # files', true],
    ['hosts: files\r', true],
    ['hosts:', false],
    [undefined, true],
  ] as const) {
    it(`${line ?? 'no file'}: ${first}`, () => assert.equal(asksHostsFirst(line), first));
  }
});
