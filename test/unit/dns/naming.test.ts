import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createNaming, type NamingOptions, routedDomains } from '../../../src/dns/naming.ts';
import { addressFromReverse, reverseName, reverseZones } from '../../../src/dns/reverse.ts';
import { parseNamePattern } from '../../../src/net/name.ts';
import { parsePrefix } from '../../../src/net/prefix.ts';

const OPTIONS: NamingOptions = {
  nameTargets: ['api.example.com', '*.corp.example', 'db.corp.example'].map(parseNamePattern),
  nameExclusions: ['public.corp.example', '*.cdn.corp.example'].map(parseNamePattern),
  domains: ['corp.example', 'lab.example'],
  reversed: ['10.77.0.0/16', '203.0.113.64/26', '2001:db8:77::/48'].map(
    (text) => parsePrefix(text).prefix,
  ),
  beyond: 'local',
};
/** The program's own ranges: always told. */
const OWN_ZONES = [
  '18.198.in-addr.arpa',
  '19.198.in-addr.arpa',
  '0.0.0.0.2.0.0.0.1.0.0.2.ip6.arpa',
];

describe('who answers for a name', () => {
  const naming = createNaming(OPTIONS);
  const TABLE: readonly (readonly [string, string])[] = [
    ['api.example.com', 'virtual'],
    ['x.api.example.com', 'local'],
    ['www.corp.example', 'virtual'],
    ['a.b.corp.example', 'virtual'],
    ['corp.example', 'tunnel'],
    ['public.corp.example', 'tunnel'],
    ['x.cdn.corp.example', 'tunnel'],
    ['xlab.example', 'local'],
    ['x.lab.example', 'tunnel'],
    ['example', 'local'],
    ['.', 'local'],
    ['localhost', 'loopback'],
    ['x.localhost', 'loopback'],
    ['use-application-dns.net', 'nothing'],
    ['_dns.resolver.arpa', 'nothing'],
    ['a\\046corp.example', 'local'],
    ['com', 'local'],
    ['1.64.18.198.in-addr.arpa', 'stand-in'],
    [reverseName('198.19.255.1'), 'stand-in'],
    [reverseName('2001:2::1'), 'stand-in'],
    [reverseName('198.20.0.1'), 'local'],
    [reverseName('10.77.3.4'), 'tunnel'],
    [reverseName('10.78.3.4'), 'local'],
    [reverseName('203.0.113.65'), 'tunnel'],
    [reverseName('203.0.113.1'), 'local'],
    [reverseName('2001:db8:77::1'), 'tunnel'],
    ['77.10.in-addr.arpa', 'local'],
  ];
  for (const [name, kind] of TABLE)
    it(`${name}: ${kind}`, () => assert.equal(naming(name).kind, kind));

  it("leaves the jump host's own names to this machine, with what a search list appends", () => {
    const book = { own: ['jump.corp.example'] };
    const own = createNaming({ ...OPTIONS, beyond: 'tunnel', book });
    assert.equal(own('jump.corp.example').kind, 'local');
    assert.equal(own('x.jump.corp.example').kind, 'virtual');
    book.own = ['jump'];
    assert.equal(own('jump.corp.example').kind, 'local');
    assert.equal(own('jump').kind, 'local');
    assert.equal(own('jumper.corp.example').kind, 'virtual');
    assert.equal(own('example.org').kind, 'tunnel');
  });

  it('prefers the target that writes the name out', () => {
    assert.deepEqual(naming('db.corp.example'), {
      kind: 'virtual',
      zone: 'db.corp.example',
      exact: true,
    });
    assert.deepEqual(naming('web.corp.example'), {
      kind: 'virtual',
      zone: 'corp.example',
      exact: false,
    });
  });

  it('sends the rest through the tunnel when there are no suffixes', () => {
    const all: NamingOptions = { ...OPTIONS, domains: [], beyond: 'tunnel' };
    assert.equal(createNaming(all)('www.example.org').kind, 'tunnel');
    assert.deepEqual(routedDomains(all), ['.']);
  });

  it('tells that other names do not exist where nobody is to be asked', () => {
    const isolated = createNaming({ ...OPTIONS, beyond: 'nothing' });
    assert.deepEqual(isolated('www.example.org'), { kind: 'nothing', zone: '.', exists: false });
    assert.equal(isolated('x.lab.example').kind, 'tunnel');
  });

  it('tells other resolvers the suffixes of targets and domains, and reverse zones', () => {
    assert.deepEqual(routedDomains(OPTIONS), [
      'api.example.com',
      'corp.example',
      'lab.example',
      'use-application-dns.net',
      ...OWN_ZONES,
      '77.10.in-addr.arpa',
      // The prefix has no zone of its own: those of other addresses come here as well, and are
      // asked for elsewhere again.
      '113.0.203.in-addr.arpa',
      '7.7.0.0.8.b.d.0.1.0.0.2.ip6.arpa',
    ]);
  });

  it('tells them to send everything where that would be more than they take', () => {
    const numbered = (count: number, text: (i: number) => string) =>
      Array.from({ length: count }, (_, i) => text(i));
    const reversed = numbered(65, (i) => `10.${i}.0.0/16`).map((text) => parsePrefix(text).prefix);
    const zones = routedDomains({
      nameTargets: [],
      nameExclusions: [],
      domains: ['x.example'],
      reversed,
      beyond: 'local',
    });
    assert.deepEqual(zones, ['x.example', 'use-application-dns.net', 'in-addr.arpa', 'ip6.arpa']);
    const targets = (count: number) =>
      numbered(count, (i) => `n${i}.example`).map(parseNamePattern);
    const domainsFor = (count: number) =>
      routedDomains({
        nameTargets: targets(count),
        nameExclusions: [],
        domains: [],
        beyond: 'local',
      });
    assert.equal(domainsFor(196).length, 200);
    assert.deepEqual(domainsFor(197), ['.']);
  });
});

describe('reverse names', () => {
  for (const address of ['198.18.64.1', '10.0.0.255', '2001:2:0:8000::5d', '2001:db8::']) {
    it(`of ${address} lead back to it`, () =>
      assert.equal(addressFromReverse(reverseName(address)), address));
  }
  const ZONES: readonly (readonly [string, readonly string[]])[] = [
    ['10.0.0.0/8', ['10.in-addr.arpa']],
    ['0.0.0.0/0', ['in-addr.arpa']],
    ['172.16.0.0/12', Array.from({ length: 16 }, (_, i) => `${16 + i}.172.in-addr.arpa`)],
    ['10.0.0.0/9', ['10.in-addr.arpa']],
    ['192.0.2.7/32', ['7.2.0.192.in-addr.arpa']],
    ['fd00::/7', ['c.f.ip6.arpa', 'd.f.ip6.arpa']],
    ['2001:db8::/32', ['8.b.d.0.1.0.0.2.ip6.arpa']],
  ];
  for (const [prefix, zones] of ZONES)
    it(`of ${prefix} are in ${zones[0]}${zones.length > 1 ? ' and others' : ''}`, () =>
      assert.deepEqual(reverseZones(parsePrefix(prefix).prefix), zones));
  for (const name of [
    '18.198.in-addr.arpa',
    '256.1.1.1.in-addr.arpa',
    '1.2.3.4.5.in-addr.arpa',
    '8.ip6.arpa',
    'x.arpa',
  ]) {
    it(`${name} is not that of an address`, () =>
      assert.equal(addressFromReverse(name), undefined));
  }
});
