import assert from 'node:assert/strict';
import { lookup } from 'node:dns/promises';
import { describe, it } from 'node:test';
import { NotationError } from '../../../src/net/notation.ts';
import { numericAddress, requireUsualHost } from '../../../src/ssh/numerichost.ts';
import { both, LACKING, lab, NO_SSH, resolve } from '../../support/sshconfiglab.ts';

/** What getaddrinfo(3) of this machine reads without asking a resolver. */
async function readByMachine(text: string): Promise<string | undefined> {
  // AI_NUMERICHOST is not offered by Node: .invalid makes sure that a name isn't found.
  try {
    return (await lookup(text)).address;
  } catch {
    return undefined;
  }
}

describe('numericAddress', () => {
  for (const text of [
    '10.1',
    '61',
    '0x7f.1',
    '010.0.0.1',
    '0',
    '1.65535',
    '4294967295',
    '0X7F.0x0.0.1',
    '1.65536',
    '1.2.3.4',
  ])
    it(`reads ${text} as this machine does`, async () => {
      assert.equal(numericAddress(text), await readByMachine(text));
      assert.notEqual(numericAddress(text), undefined);
    });
  it('has the usual form of IPv6', () => {
    assert.equal(numericAddress('2001:0DB8:0:0:0:0:0:1'), '2001:db8::1');
    assert.equal(numericAddress('FE80::1%eth0'), 'fe80::1%eth0');
  });
  for (const text of [
    '4294967296',
    '1.16777216',
    '08.1',
    '0x',
    '1..2',
    '1.2.3.',
    '1.2.3.4.5',
    '256.1',
  ])
    it(`takes ${text} for a name`, () => assert.equal(numericAddress(text), undefined));
});

describe('requireUsualHost', () => {
  for (const host of ['db.1', 'gw-10.0.0.1', '0x7f.example', 'a', '10.0.0.1', '::1', 'a.b.'])
    it(`takes ${host}`, () => requireUsualHost(host));
  const wrong: readonly (readonly [host: string, message: RegExp])[] = [
    ['010.0.0.1', /leading zero \(010\)/],
    ['300.1.1.1', /above 255/],
    ['10.77.0.0/16', /is a network, not a host/],
    ['10/8', /is a network, not a host/],
    ['2001:db8::/32', /is a network, not a host/],
    ['prod/7', /has "\/" in it/],
    ['10.1', /2 parts/],
    ['1234', /above 255|one part/],
    ['0x7f.0.0.1', /not a decimal number/],
    ['127.0x1', /not a decimal number/],
    ['1.2.3.4.5', /5 parts/],
    ['jump/host', /"\/" in it/],
  ];
  for (const [host, message] of wrong)
    it(`refuses ${host}`, () =>
      assert.throws(
        () => requireUsualHost(host),
        (error) => error instanceof NotationError && message.test(error.message),
      ));
});

describe('an alias of ssh_config', { skip: LACKING }, () => {
  for (const alias of ['61', 'db.1', 'gw-10.0.0.1', '10.1', '0x7f', '300.1.1.1', '1.2.3.4.5'])
    it(`may be ${alias}, for -r, -J and ProxyJump`, async () => {
      const where = lab(`Host ${alias}\nHostName h\nPort 7\nHost inner\nProxyJump u@${alias}`);
      assert.deepEqual(hostAndPort(await both(where, alias)), ['h', 7]);
      assert.deepEqual(hostAndPort(await both(where, `me@${alias}:8`)), ['h', 8]);
      for (const [name, more] of [
        ['inner', {}],
        ['other', { jump: alias }],
        ['other', { jump: `first,u@${alias}:7` }],
      ] as const) {
        const { proxy } = await both(where, name, more);
        assert.ok(proxy.kind === 'jump');
        assert.deepEqual(hostAndPort(proxy.hops.at(-1)), ['h', 7]);
      }
    });

  for (const [host, message] of [
    ['10.1', /: -r: "10\.1" has 2 parts/],
    ['61', /one part/],
    ['010.0.0.1', /octal/],
  ] as const)
    it(`is no alias without a HostName: ${host}`, async () => {
      for (const sshProgram of ['ssh', NO_SSH]) {
        const changed = { sshProgram };
        const named = lab(`Host ${host}\nPort 7\nHost x\nProxyJump ${host}`);
        await assert.rejects(resolve(named, host, {}, changed), message);
        await assert.rejects(resolve(named, 'x', {}, changed), /ProxyJump.*(part|octal)/);
        await assert.rejects(resolve(named, 'y', { jump: host }, changed), /-J.*(part|octal)/);
      }
    });

  it('has a slash for -r only, as with ssh', async () => {
    assert.deepEqual(hostAndPort(await both(lab('Host a/b\nHostName h'), 'a/b:7')), ['h', 7]);
    for (const sshProgram of ['ssh', NO_SSH]) {
      const reason = /"\/" in it|Invalid ProxyJump/;
      await assert.rejects(resolve(lab(''), 'a/b', {}, { sshProgram }), reason);
      await assert.rejects(resolve(lab('ProxyJump a/b'), 'x', {}, { sshProgram }), reason);
    }
  });

  it('may be passed to a ProxyCommand in place of an address', async () => {
    const where = lab('Host 61 i-1/west\nProxyCommand connect %n');
    for (const host of ['61', 'i-1/west'])
      assert.deepEqual((await both(where, host)).proxy, {
        kind: 'command',
        command: `connect ${host}`,
      });
  });

  it('may stand for an address that is written in another way', async () => {
    for (const [written, address] of [
      ['10.1', '10.0.0.1'],
      ['0x7f.1', '127.0.0.1'],
      ['2001:0DB8::01', '2001:db8::1'],
    ])
      assert.equal((await both(lab(`HostName ${written}`), 'a')).hostName, address);
  });
});

function hostAndPort(settings: { hostName: string; port: number } | undefined) {
  return settings && [settings.hostName, settings.port];
}
