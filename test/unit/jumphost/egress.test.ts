import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { egressRules, permittedHosts } from '../../../src/jumphost/egress.ts';
import { planOf } from '../../support/jumphostplan.ts';

/** `PORTS PREFIX`, and the names behind it. */
function rulesOf(...list: readonly string[]): string[] {
  return egressRules(planOf(list).permitted).flatMap(({ ports: { first, last }, to, names }) =>
    to.map((prefix) => [`${first}-${last}`, prefix, ...names].join(' ')),
  );
}

describe('egressRules()', () => {
  it('joins adjacent ports, and addresses with the same ports', () => {
    assert.deepEqual(
      rulesOf('10.0.0.4:80', '10.0.0.5:80', '10.0.0.6:81', '10.0.0.9:80', '10.0.0.9:81'),
      ['80-80 10.0.0.4/31', '80-81 10.0.0.9/32', '81-81 10.0.0.6/32'],
    );
  });

  it('joins no more than there is', () => {
    assert.deepEqual(rulesOf('10.0.0.5:80', '10.0.0.6:80', '10.0.0.5:82'), [
      '80-80 10.0.0.5/32',
      '80-80 10.0.0.6/32',
      '82-82 10.0.0.5/32',
    ]);
  });

  it('has every port for an asterisk, and IPv6 after IPv4', () => {
    assert.deepEqual(rulesOf('[2001:db8::4]:*', '[2001:db8::5]:*', '10.0.0.9:*'), [
      '1-65535 10.0.0.9/32',
      '1-65535 2001:db8::4/127',
    ]);
  });

  it('opens the port of a name to everywhere, once for all names', () => {
    assert.deepEqual(rulesOf('a.example.com:443', 'b.example.com:443', '10.0.0.9:443'), [
      '443-443 0.0.0.0/0 a.example.com b.example.com',
      '443-443 ::/0 a.example.com b.example.com',
      '443-443 10.0.0.9/32',
    ]);
  });

  it('permits what is listed, and no address or port beside it', () => {
    const list = Array.from({ length: 40 }, (_, i) => `10.0.0.${(i * 7) % 64}:${8000 + (i % 5)}`);
    const rules = egressRules(planOf(list).permitted);
    const covered = rules.flatMap(({ ports: { first, last }, to }) =>
      to.flatMap((prefix) => {
        const [address = '', length = ''] = prefix.split('/');
        const start = Number(address.split('.')[3]);
        const hosts = Array.from({ length: 2 ** (32 - Number(length)) }, (_, i) => start + i);
        const ports = Array.from({ length: last - first + 1 }, (_, i) => first + i);
        return hosts.flatMap((host) => ports.map((port) => `10.0.0.${host}:${port}`));
      }),
    );
    assert.deepEqual(covered.sort(), [...new Set(list)].sort());
  });
});

describe('permittedHosts()', () => {
  it('has each host once, and no ports where all are listed', () => {
    const { permitted } = planOf(['a.example:80', '10.0.0.1:1', '10.0.0.1:*', 'a.example:81']);
    assert.deepEqual(permittedHosts(permitted), [
      { host: 'a.example', ports: [{ first: 80, last: 81 }] },
      { host: '10.0.0.1', ports: [] },
    ]);
  });
});
