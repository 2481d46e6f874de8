/** Who is left out, who is warned about, and where nothing is said. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PrefixSet } from '../../../src/net/prefixset.ts';
import { capturedPrefixes } from '../../../src/policy/policy.ts';
import { leaveOutLogin, reportIncoming, warnOfOtherFamily } from '../../../src/session/incoming.ts';
import type { Incoming } from '../../../src/system/incoming.ts';
import { FakeRouting } from '../../support/fakerouting.ts';
import { MemoryMachine } from '../../support/memorymachine.ts';

const PEER = '203.0.113.7';
const routing = () =>
  new FakeRouting()
    .add('0.0.0.0/0 via 192.0.2.1 dev eth0')
    .address('192.0.2.0/24', 'eth0')
    .address('203.0.112.0/24', 'wlan0');

function configuration(targets: readonly string[], ...exclude: readonly string[]) {
  return MemoryMachine.configuration(targets, { exclude });
}

describe('leaveOutLogin', () => {
  const captured = (targets: readonly string[], peer: string, captureLocal = false) => {
    const given = configuration(targets);
    const wanted = { ...given, capture: { ...given.capture, captureLocal } };
    return new PrefixSet(
      capturedPrefixes({ ...leaveOutLogin(wanted, [peer], routing()), always: [] }),
    );
  };

  it('excludes the peer of the login, and nothing beside it', () => {
    const set = captured(['0/0'], PEER);
    assert.equal(set.contains(PEER), false);
    assert.ok(set.contains('203.0.113.6') && set.contains('203.0.113.8'));
  });

  it('makes no route to the very prefix of a connected network', () => {
    assert.ok(!captured(['0/0'], PEER).prefixes.some(({ address }) => address === '203.0.112.0'));
  });

  it('leaves connected networks as they are', () => {
    const given = configuration(['0/0']);
    assert.equal(leaveOutLogin(given, ['192.0.2.9'], routing()), given);
  });

  it('excludes it inside one that is captured: by --capture-local, or by a narrower target', () => {
    const set = captured(['0/0'], '192.0.2.9', true);
    assert.equal(set.contains('192.0.2.9') || set.contains('192.0.2.1'), false);
    assert.ok(set.contains('192.0.2.8'));
    assert.equal(captured(['192.0.2.0/26'], '192.0.2.9').contains('192.0.2.9'), false);
  });

  it('takes an address that is itself a target', () => {
    const given = configuration([PEER, '0/0']);
    assert.equal(leaveOutLogin(given, [PEER], routing()), given);
    assert.equal(leaveOutLogin(given, [], routing()), given);
  });
});

describe('reportIncoming', () => {
  async function said(
    targets: readonly string[],
    incoming: Partial<Incoming>,
    exclude: readonly string[] = [],
  ): Promise<string> {
    const lines: string[] = [];
    const observer = { log: (_: string, text: string) => lines.push(text), count: () => {} };
    const machine = new MemoryMachine();
    const all = { ...machine.incoming, ...incoming };
    const wanted = configuration(targets, ...exclude);
    const login = await all.loginPeers();
    const captured = leaveOutLogin(wanted, login, routing());
    const parts = { incoming: all, routing: routing(), observer };
    await reportIncoming({ wanted, captured, login }, parts);
    return lines.join('\n');
  }
  const from = (...peers: readonly string[]) => ({
    connections: () => Promise.resolve(peers.map((peer) => ({ peer, port: 22 }))),
  });

  it('names the peer that is left out, and none that no target holds', async () => {
    const loginPeers = () => Promise.resolve([PEER]);
    assert.equal(
      await said(['0/0'], { loginPeers }),
      `left out: ${PEER}, the peer of this SSH login`,
    );
    assert.equal(await said(['10/8'], { loginPeers }), '');
    assert.equal(await said(['0/0'], { loginPeers }, [PEER]), '');
  });

  it('warns of peers that are captured, except those that stay local', async () => {
    const text = await said(['0/0'], from(PEER, '192.0.2.9', '127.0.0.1', '2001:db8::1'));
    assert.match(text, /connections into this machine break.*from 203\.0\.113\.7 \(port 22\)$/);
    assert.equal(await said(['0/0'], from(PEER), ['203.0.113.0/24']), '');
  });

  it('names eight, and counts the rest', async () => {
    const many = Array.from({ length: 11 }, (_, i) => `203.0.113.${i}`);
    assert.match(await said(['0/0'], from(...many)), /203\.0\.113\.7 \(port 22\) and 3 more$/);
  });

  it('names ports that are passed on only where all addresses are captured', async () => {
    const passedOnPorts = () => Promise.resolve([{ first: 80, last: 81 }]);
    assert.match(
      await said(['0/0'], { passedOnPorts }),
      /port 80-81, which this machine passes on/,
    );
    assert.match(await said(['0/1', '128/1'], { passedOnPorts }), /port 80-81/);
    assert.equal(await said(['10/8'], { passedOnPorts }), '');
  });
});

describe('warnOfOtherFamily', () => {
  function said(machine: FakeRouting, targets: readonly string[], ...exclude: readonly string[]) {
    const lines: string[] = [];
    const observer = { log: (_: string, text: string) => lines.push(text), count: () => {} };
    warnOfOtherFamily(configuration(targets, ...exclude), machine, observer);
    return lines.join('\n');
  }
  const both = () => routing().add('::/0 via fe80::1 dev eth0').address('2001:db8:1::/64', 'eth0');

  it('warns of a way out by the family that is not captured', () => {
    assert.match(said(both(), ['0/0']), /^0\/0 is captured and ::\/0 is not: IPv6 goes past/);
    assert.match(said(both(), ['::/0']), /^::\/0 is captured and 0\/0 is not: IPv4 goes past/);
    assert.match(said(both(), ['0/1', '128/1']), /IPv6 goes past/);
  });

  it('says nothing where both are, or one is excluded, or only parts are captured', () => {
    assert.equal(said(both(), ['0/0', '::/0']), '');
    assert.equal(said(both(), ['0/0', '2000::/3']), '');
    assert.equal(said(both(), ['0/0'], '::/0'), '');
    assert.equal(said(both(), ['10/8']), '');
  });

  it('says nothing on a machine without the other family', () => {
    assert.equal(said(routing(), ['0/0']), '');
    const local = routing().address('fe80::/64', 'eth0');
    assert.equal(said(local, ['0/0']), '', 'link-local only');
    assert.equal(said(local.add('::/0 via fe80::1 dev eth0'), ['0/0']), '', 'a route only');
    const blocked = routing().address('2001:db8:1::/64', 'eth0');
    assert.equal(said(blocked.add('::/0', { type: 7, device: 0 }), ['0/0']), '', 'blocked');
  });
});
