import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { asksHostsFirst, parseHosts } from '../../../../src/system/resolver/hosts.ts';

describe('parseHosts', () => {
  it('reads what hosts(5) has', () => {
    const text = [
      '# a comment',
      '127.0.0.1 localhost',
      '  10.0.0.1\tAPI.example.com. api # with an alias',
      '2001:DB8::1 v6.example',
      'fe80::1%eth0 zoned.example',
      'no.address name.example',
      '10.0.0.2',
      '10.0.0.3 bad_but_used.example strange?.example\r',
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

describe('asksHostsFirst', () => {
  for (const [line, first] of [
    ['hosts: files dns', true],
    ['hosts:  files mdns4_minimal [NOTFOUND=return] dns', true],
    ['hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns', true],
    ['hosts: dns files', false],
    ['hosts: dns', false],
    ['passwd: files', true],
    ['#hosts: dns', true],
    [undefined, true],
  ] as const) {
    it(`${line ?? 'no file'}: ${first}`, () => assert.equal(asksHostsFirst(line), first));
  }
});
