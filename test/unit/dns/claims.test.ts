import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Claims, claimsOf, UNCLAIMED } from '../../../src/dns/claims.ts';
import { parseNamePattern } from '../../../src/net/name.ts';
import { parsePrefix } from '../../../src/net/prefix.ts';

/** Which of several claims is closest to a name. */
function closest(name: string, ...texts: string[]): string | undefined {
  const ranked = texts
    .map((text) => ({ text, rank: new Claims([text]).rank(name) }))
    .filter(({ rank }) => rank !== UNCLAIMED)
    .toSorted((a, b) => b.rank - a.rank);
  return ranked[0]?.text;
}

describe('claims', () => {
  it('are closer the longer they are, and the name itself is closest', () => {
    const all = ['.', '*.example', '*.corp.example', '*.lab.corp.example', 'a.lab.corp.example'];
    assert.equal(closest('a.lab.corp.example', ...all), 'a.lab.corp.example');
    assert.equal(closest('b.a.lab.corp.example', ...all), '*.lab.corp.example');
    assert.equal(closest('lab.corp.example', ...all), '*.corp.example');
    assert.equal(closest('www.example', ...all), '*.example');
    assert.equal(closest('example', ...all), '.');
    assert.equal(closest('notcorp.example', '*.corp.example'), undefined);
  });

  it('cover reverse names by their addresses', () => {
    const name = '9.64.18.198.in-addr.arpa';
    assert.equal(closest(name, '198.18.64.0/18', '198.18.128.0/18', '.'), '198.18.64.0/18');
    assert.equal(closest(name, '198.0.0.0/8', '198.18.64.0/18'), '198.18.64.0/18');
    assert.equal(closest(name, '198.18.64.0/18', '*.in-addr.arpa'), '*.in-addr.arpa');
    const six = `1.${'0.'.repeat(23)}2.0.0.0.1.0.0.2.ip6.arpa`;
    assert.equal(closest(six, '2001:2::/48', '.'), '2001:2::/48');
  });

  it('are made of what a tunnel answers for', () => {
    const options = {
      nameTargets: ['api.example.com', '*.corp.example'].map(parseNamePattern),
      nameExclusions: [],
      domains: ['corp.example'],
      reversed: [parsePrefix('10.0.0.0/8').prefix],
      beyond: 'tunnel',
    } as const;
    assert.deepEqual(claimsOf(options, [parsePrefix('198.18.64.0/18').prefix]).texts, [
      'api.example.com',
      '*.corp.example',
      'corp.example',
      '198.18.64.0/18',
      '10.0.0.0/8',
      '.',
    ]);
  });

  it('are in conflict where they are the same, but not if one is closer, or by address', () => {
    const one = new Claims(['api.example', '*.corp.example', '10.0.0.0/8', '.']);
    for (const [other, shared] of [
      ['api.example', ['api.example']],
      ['*.corp.example', ['*.corp.example']],
      ['corp.example', []],
      ['*.lab.corp.example', []],
      ['*.api.example', []],
      ['10.0.0.0/8', []],
      ['.', ['.']],
    ] as const)
      assert.deepEqual(one.sharedWith(new Claims([other])), shared, other);
  });

  it('of a kind that is not known are left out', () => {
    const { rank } = { rank: (name: string) => new Claims(['+', '!x', 'a b', '']).rank(name) };
    assert.equal(rank('a.example'), UNCLAIMED);
  });
});
