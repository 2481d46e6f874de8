import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createNaming, type NamingOptions, routedDomains } from '../../../src/dns/naming.ts';
import { addressFromReverse, reverseName } from '../../../src/dns/reverse.ts';
import { parseNamePattern } from '../../../src/net/name.ts';

const OPTIONS: NamingOptions = {
  nameTargets: ['api.example.com', '*.corp.example', 'db.corp.example'].map(parseNamePattern),
  nameExclusions: ['public.corp.example', '*.cdn.corp.example'].map(parseNamePattern),
  domains: ['corp.example', 'lab.example'],
  beyond: 'local',
};

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
  ];
  for (const [name, kind] of TABLE) it(`${name}: ${kind}`, () => assert.equal(naming(name).kind, kind));

  it("leaves the jump host's own names to this machine, with what a search list appends", () => {
    let ownNames = ['jump.corp.example'];
    const own = createNaming({ ...OPTIONS, beyond: 'tunnel', ownNames: () => ownNames });
    assert.equal(own('jump.corp.example').kind, 'local');
    assert.equal(own('x.jump.corp.example').kind, 'virtual');
    ownNames = ['jump'];
    assert.equal(own('jump.corp.example').kind, 'local');
    assert.equal(own('jump').kind, 'local');
    assert.equal(own('jumper.corp.example').kind, 'virtual');
    assert.equal(own('example.org').kind, 'tunnel');
  });

  it('prefers the target that writes the name out', () => {
    assert.deepEqual(naming('db.corp.example'), { kind: 'virtual', zone: 'db.corp.example', exact: true });
    assert.deepEqual(naming('web.corp.example'), { kind: 'virtual', zone: 'corp.example', exact: false });
  });

  it('sends the rest through the tunnel when there are no suffixes', () => {
    const all: NamingOptions = { ...OPTIONS, domains: [], beyond: 'tunnel' };
    assert.equal(createNaming(all)('www.example.org').kind, 'tunnel');
    assert.deepEqual(routedDomains(all), ['.']);
  });

  it('tells other resolvers the suffixes of targets and domains', () => {
    assert.deepEqual(routedDomains(OPTIONS), [
      'api.example.com',
      'corp.example',
      'db.corp.example',
      'lab.example',
    ]);
  });
});

describe('reverse names', () => {
  for (const address of ['198.18.64.1', '10.0.0.255', '2001:2:0:8000::5d', '2001:db8::']) {
    it(`of ${address} lead back to it`, () =>
      assert.equal(addressFromReverse(reverseName(address)), address));
  }
  for (const name of [
    '18.198.in-addr.arpa',
    '256.1.1.1.in-addr.arpa',
    '1.2.3.4.5.in-addr.arpa',
    '8.ip6.arpa',
    'x.arpa',
  ]) {
    it(`${name} is not that of an address`, () => assert.equal(addressFromReverse(name), undefined));
  }
});
