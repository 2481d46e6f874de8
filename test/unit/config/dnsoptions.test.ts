import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MAX_DNS_SERVERS, readDnsOptions } from '../../../src/config/dnsoptions.ts';
import { UsageError } from '../../../src/errors.ts';

const NONE = { throughTunnel: false, servers: [], domains: [] };

describe('the options about names', () => {
  it('change nothing when none is given', () => {
    assert.deepEqual(readDnsOptions({}), NONE);
  });

  it('send all names through the tunnel with --dns', () => {
    assert.deepEqual(readDnsOptions({ dns: true }), { ...NONE, throughTunnel: true });
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

  it('limits the number of servers, and says where a wrong one stands', () => {
    const dnsServer = Array.from({ length: MAX_DNS_SERVERS + 1 }, (_, i) => `10.0.0.${i}`);
    assert.throws(() => readDnsOptions({ dnsServer }), /9 times, at most 8/);
    assert.throws(() => readDnsOptions({ dnsServer: ['x'] }, () => 'args:7'), /args:7/);
  });
});
