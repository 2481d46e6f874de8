import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  MAX_DNS_SERVERS,
  MAX_DOMAINS,
  namingOptions,
  readDnsOptions as readGiven,
  tunnelResolvers,
} from '../../../src/config/dnsoptions.ts';
import { routedDomains } from '../../../src/dns/naming.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { parseNamePattern } from '../../../src/net/name.ts';
import { formatPrefix, parsePrefix } from '../../../src/net/prefix.ts';
import { givenOptions, type OptionTexts } from '../../support/options.ts';

const readDnsOptions = (texts: OptionTexts) => readGiven(givenOptions(texts));

const NONE = { throughTunnel: false, servers: [], domains: [] };

describe('the options about names', () => {
  it('change nothing when none is given', () => {
    assert.deepEqual(readDnsOptions({}), NONE);
  });

  it('send all names through the tunnel with --dns', () => {
    assert.deepEqual(readDnsOptions({ dns: true }), {
      ...NONE,
      throughTunnel: true,
      jumpHostsOwn: true,
    });
  });

  for (const [text, host, port] of [
    ['10.0.0.53', '10.0.0.53', 53],
    ['10.0.0.53:5353', '10.0.0.53', 5353],
    ['2001:DB8::0:53', '2001:db8::53', 53],
    ['[2001:db8::53]', '2001:db8::53', 53],
    ['[2001:db8::53]:5353', '2001:db8::53', 5353],
    ['127.0.0.53', '127.0.0.53', 53],
  ] as const) {
    it(`--dns-server ${text}`, () => {
      assert.deepEqual(readDnsOptions({ dnsServer: [text] }), {
        throughTunnel: true,
        servers: [{ host, port }],
        domains: [],
      });
    });
  }

  for (const text of [
    '',
    'ns.example.com',
    '10.0.0',
    '10.0.0.53:',
    '10.0.0.53:0',
    '10.0.0.53:65536',
    '[10.0.0.53',
    'fe80::1%eth0',
  ]) {
    it(`--dns-server ${JSON.stringify(text)} is wrong`, () => {
      assert.throws(() => readDnsOptions({ dnsServer: [text] }), UsageError);
    });
  }

  it('reads suffixes as other programs write them', () => {
    const domain = [
      'corp.example',
      '.Corp.Example.',
      '*.corp.example',
      '~corp.example',
      'bücher.example',
      '10.in-addr.arpa',
    ];
    assert.deepEqual(readDnsOptions({ dnsServer: ['10.0.0.53'], domain }).domains, [
      'corp.example',
      'xn--bcher-kva.example',
      '10.in-addr.arpa',
    ]);
  });

  it('wants a resolver for --domain', () => {
    assert.throws(() => readDnsOptions({ domain: ['corp.example'] }), /--domain.*none is given/);
    assert.throws(() => readDnsOptions({ dns: true, domain: ['corp.example'] }), /none is given/);
  });

  it('reads the domains that may have any address, and the ranges of virtual addresses', () => {
    const read = readDnsOptions({
      rebindDomainOk: ['*.Dev.example', 'dev.example'],
      virtualRange: ['100.127.0.0/18', 'fd00:1::/96'],
    });
    assert.deepEqual(read.rebindDomains, ['dev.example']);
    assert.deepEqual(read.virtualRanges?.map(formatPrefix), ['100.127.0.0/18', 'fd00:1::/96']);
    const rules = { nameTargets: [], nameExclusions: [], targets: [], exclusions: [] };
    const naming = namingOptions({ ...rules, dns: read });
    assert.deepEqual(naming.virtualRanges, read.virtualRanges);
    assert.ok(routedDomains(naming).includes('127.100.in-addr.arpa'));
    const own = readDnsOptions({ virtualRange: ['198.19.0.0/18'] });
    assert.equal(own.virtualRanges?.length, 1);
    for (const [range, why] of [
      ['127.0.0.0/18', /loopback/],
      ['100.127.0.0/25', /too few addresses/],
      ['fd00::/120', /too few addresses/],
      ['x', /--virtual-range/],
    ] as const)
      assert.throws(() => readDnsOptions({ virtualRange: [range] }), why);
    const twice = ['100.127.0.0/18', '100.126.0.0/18'];
    assert.throws(() => readDnsOptions({ virtualRange: twice }), /twice for IPv4/);
    const many = Array.from({ length: MAX_DOMAINS + 1 }, (_, i) => `d${i}.example`);
    assert.throws(() => readDnsOptions({ rebindDomainOk: many }), /257 times, at most 256/);
  });

  it('limits the number of servers, and says where a wrong one stands', () => {
    const dnsServer = Array.from({ length: MAX_DNS_SERVERS + 1 }, (_, i) => `10.0.0.${i}`);
    assert.throws(() => readDnsOptions({ dnsServer }), /9 times, at most 8/);
    assert.throws(
      () => readGiven(givenOptions({ dnsServer: ['x'] }, { kind: 'file', path: 'args', line: 7 })),
      /args:7/,
    );
  });
});

describe('what the options about names come to', () => {
  it('the servers that were given, or those of this machine that the jump host may reach', () => {
    const given = { dnsServer: ['127.0.0.53'] };
    const servers = [{ host: '127.0.0.53', port: 53 }];
    const own = ['127.0.0.53', '127.0.0.1'].map((host) => ({ host, port: 53 }));
    const uplinks = ['127.0.0.1', 'fe80::1%eth0', '10.0.0.1', '169.254.1.1'];
    const of = (options: OptionTexts, from = uplinks) =>
      tunnelResolvers(readDnsOptions(options), from);
    assert.deepEqual(of(given), { servers, named: true, own: [] });
    assert.deepEqual(of({ ...given, dns: true }), { servers, named: true, own });
    assert.deepEqual(of({ dns: true }), {
      servers: [{ host: '10.0.0.1', port: 53 }],
      named: false,
      own,
    });
    assert.deepEqual(of({ dns: true }, []), { servers: [], named: false, own });
    assert.equal(of({}), undefined);
  });

  const nothing = { nameTargets: [], nameExclusions: [], targets: [], exclusions: [] };
  const ports = [{ first: 25, last: 25 }];

  it('names: suffixes leave the rest to this machine; an exclusion of ports leaves a name a target', () => {
    const target = (text: string, limited: { first: number; last: number }[] = []) => ({
      pattern: parseNamePattern(text),
      ports: limited,
    });
    const naming = namingOptions({
      ...nothing,
      dns: readDnsOptions({ dnsServer: ['10.0.0.53'], domain: ['corp.example'] }),
      nameTargets: [target('*.corp.example')],
      nameExclusions: [target('a.corp.example'), target('b.corp.example', ports)],
    });
    assert.deepEqual(naming.nameExclusions, [parseNamePattern('a.corp.example')]);
    assert.equal(naming.beyond, 'local');
    assert.equal(
      namingOptions({ ...nothing, dns: readDnsOptions({ dns: true }) }).beyond,
      'tunnel',
    );
    assert.equal(namingOptions({ ...nothing, dns: readDnsOptions({}) }).beyond, 'local');
  });

  it('reverse names go with the suffixes, for targets that are networks and not excluded', () => {
    const rule = (text: string, limited: typeof ports = []) => ({
      prefix: parsePrefix(text).prefix,
      ports: limited,
    });
    const rules = {
      ...nothing,
      targets: ['0/0', '10.0.0.0/8', '127.0.0.1', '2000::/3', '2001:db8::/32'].map((text) =>
        rule(text),
      ),
      exclusions: [rule('10.128.0.0/9'), rule('10.1.0.0/16', ports)],
    };
    const split = readDnsOptions({ dnsServer: ['10.0.0.53'], domain: ['corp.example'] });
    const { reversed } = namingOptions({ ...rules, dns: split });
    assert.deepEqual(reversed?.map(formatPrefix), ['10.0.0.0/9', '2001:db8::/32']);
    assert.deepEqual(namingOptions({ ...rules, dns: readDnsOptions({}) }).reversed, []);
    assert.deepEqual(namingOptions({ ...rules, dns: readDnsOptions({ dns: true }) }).reversed, []);
  });
});
