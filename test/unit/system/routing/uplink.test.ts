/** The device that would be used without the tunnel: as the kernel would choose it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parsePrefix } from '../../../../src/net/prefix.ts';
import { linuxRouting } from '../../../../src/system/routing/kernel.ts';
import type { Sample } from '../../../../src/system/routing/rtnetlink.ts';
import { uplinkDevice } from '../../../../src/system/routing/uplink.ts';
import { FakeRouting } from '../../../support/fakerouting.ts';

const JUMP_HOST = '10.1.2.3';
const { prefix: ALL } = parsePrefix('0/0');

/** Everything is captured by tun0. */
const captured = () =>
  new FakeRouting()
    .add('0.0.0.0/1 dev tun0', { protocol: 116 })
    .add('10.1.2.3/32 dev tun0', { protocol: 116 })
    .add('0.0.0.0/0 via 192.0.2.1 dev eth0', { metric: 100 })
    .add('0.0.0.0/0 via 198.51.100.1 dev wlan0', { metric: 600 });

const device = (routing: FakeRouting, more: Partial<Sample> = {}) =>
  uplinkDevice(routing, { address: JUMP_HOST, ...more }, 'tun0');

describe('uplinkDevice', () => {
  it('is what the kernel says, where nothing is captured', () => {
    const routing = new FakeRouting().add('0.0.0.0/0 via 192.0.2.1 dev eth0');
    assert.equal(device(routing), 'eth0');
    assert.equal(routing.lookUps, 1);
  });

  it('is that of the default route with the least metric', () => {
    assert.equal(device(captured()), 'eth0');
    const roamed = captured();
    roamed.all.splice(2, 1);
    assert.equal(device(roamed), 'wlan0');
    roamed.all.splice(2, 1);
    assert.equal(device(roamed), null);
  });

  it('is that of the longest prefix, whatever its metric', () => {
    assert.equal(device(captured().add('10.1.0.0/16 dev wlan0', { metric: 5000 })), 'wlan0');
  });

  it('is that of a table which a rule asks first', () => {
    const routing = captured().add('0.0.0.0/0 dev wg0', { table: 52 });
    assert.equal(device(routing), 'eth0', 'nothing leads to the table');
    routing.rule(5270, 52, { destination: parsePrefix('10.1.0.0/16').prefix });
    assert.equal(device(routing), 'wg0');
    assert.equal(uplinkDevice(routing, { address: '10.2.0.1' }, 'tun0'), 'eth0');
  });

  it('passes over default routes as rules of wg-quick do', () => {
    const routing = captured()
      .add('0.0.0.0/0 dev wg0', { table: 51820 })
      .rule(32764, 254, { suppressedLength: 0 })
      .rule(32765, 51820, { mark: 51820, inverted: true })
      .rule(32766, 254);
    assert.equal(device(routing), 'wg0');
    routing.add('10.1.2.0/24 dev wlan0');
    assert.equal(device(routing), 'wlan0', 'a narrower route of the main table');
  });

  it('follows the address that the socket is bound to', () => {
    const routing = captured()
      .add('0.0.0.0/0 dev wlan0', { table: 77 })
      .rule(100, 77, { source: parsePrefix('198.51.100.0/24').prefix });
    assert.equal(device(routing), 'eth0');
    assert.equal(device(routing, { source: '198.51.100.7' }), 'wlan0');
  });

  it('is never another tunnel that shares the address: a query would go in a circle', () => {
    for (const metric of [16, 17]) {
      const routing = new FakeRouting()
        .add('10.1.2.3/32 dev tun0', { protocol: 116, metric: 33 - metric })
        .add('10.1.2.3/32 dev tun1', { protocol: 116, metric })
        .add('0.0.0.0/0 via 192.0.2.1 dev eth0', { metric: 100 });
      assert.equal(device(routing), 'eth0');
    }
  });

  it('is another tunnel, where this one is inside it', () => {
    assert.equal(device(captured().add('10.0.0.0/8 dev tun1', { protocol: 116 })), 'tun1');
  });

  it('is none where the kernel refuses', () => {
    assert.equal(device(captured().rule(1, 0, { action: 7, destination: ALL })), null);
    const blocked = captured().add('10.1.2.0/24 dev lo', { type: 7 });
    blocked.all.splice(1, 1);
    assert.equal(device(blocked), null);
  });

  it("is not asked for an address of this machine's own", () => {
    const own = captured().add('10.1.2.3/32 dev lo', { type: 2, table: 255 }).rule(0, 255);
    assert.equal(device(own), undefined);
  });
});

describe('the real kernel', () => {
  it('says that loopback addresses are this machine’s own, and lists devices', () => {
    assert.equal(uplinkDevice(linuxRouting, { address: '127.0.0.1', port: 22 }, 'tun0'), undefined);
    assert.equal(uplinkDevice(linuxRouting, { address: '::1', port: 22 }, undefined), undefined);
    const lo = linuxRouting.devices().find(({ name }) => name === 'lo');
    assert.ok(lo !== undefined);
    assert.equal(linuxRouting.deviceName(lo.index), 'lo');
    // Bound to the loopback device nothing leads to the rest of the world.
    const sample = { address: '192.0.2.1', device: lo.index, source: '127.0.0.1' };
    assert.equal(typeof linuxRouting.lookUp(sample), 'number');
  });
});
