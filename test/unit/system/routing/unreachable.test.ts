/** What is left of tunnels that are gone, and what must stay reachable past one that runs. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatPrefix, parsePrefix } from '../../../../src/net/prefix.ts';
import { leftUnreachable, prefixesToClose } from '../../../../src/system/routing/unreachable.ts';
import { FakeRouting } from '../../../support/fakerouting.ts';

const TUNNEL = { protocol: 116 };
const UNREACHABLE = { protocol: 116, type: 7, device: 0 };
const prefix = (text: string) => parsePrefix(text).prefix;

describe('leftUnreachable', () => {
  const left = (routing: FakeRouting) => leftUnreachable(routing).map(formatPrefix);

  it('finds what has no device of a tunnel before it, of both families', () => {
    const routing = new FakeRouting()
      .add('10.0.0.0/8', UNREACHABLE)
      .add('2001:db8::/32', UNREACHABLE);
    assert.deepEqual(left(routing), ['10.0.0.0/8', '2001:db8::/32']);
  });

  it('finds a prefix once that has two routes, of different metrics', () => {
    const routing = new FakeRouting();
    for (const metric of [2, 5000])
      routing.add('2001:db8::/32', { ...UNREACHABLE, metric }).add('10.0.0.0/8', {
        ...UNREACHABLE,
        metric,
      });
    assert.deepEqual(left(routing), ['10.0.0.0/8', '2001:db8::/32']);
  });

  it('finds nothing of a tunnel that runs', () => {
    const routing = new FakeRouting()
      .add('10.0.0.0/8 dev tun0', TUNNEL)
      .add('10.0.0.0/8', UNREACHABLE)
      .add('10.9.0.0/16', UNREACHABLE);
    assert.deepEqual(left(routing), []);
  });

  it("takes neither an administrator's route for one, nor another tunnel's for its device", () => {
    const routing = new FakeRouting()
      .add('172.16.0.0/12', { type: 7, device: 0 })
      .add('10.0.0.0/8 dev tun0', TUNNEL)
      .add('192.168.0.0/16', UNREACHABLE)
      .add('192.168.0.0/16 dev eth0');
    assert.deepEqual(left(routing), ['192.168.0.0/16']);
  });
});

describe('prefixesToClose', () => {
  const routing = new FakeRouting()
    .add('0.0.0.0/0 via 192.0.2.1 dev eth0')
    .address('192.0.2.0/24', 'eth0');
  const close = (routed: readonly string[], ...past: readonly string[]) =>
    prefixesToClose(routed.map(prefix), past, routing).map(formatPrefix);

  it('closes what is routed', () => {
    assert.deepEqual(close(['10.0.0.0/8', '198.18.64.0/18'], '8.8.8.8'), [
      '10.0.0.0/8',
      '198.18.64.0/18',
    ]);
  });

  it('leaves an address out to which the default route leads', () => {
    assert.deepEqual(close(['10.0.0.0/30'], '10.0.0.1'), ['10.0.0.0', '10.0.0.2/31']);
    assert.deepEqual(close(['10.0.0.1/32'], '10.0.0.1'), []);
  });

  it('cuts nothing out of a prefix that is wider than the network of the address', () => {
    assert.deepEqual(close(['192.0.0.0/16', '192.0.2.53/32'], '192.0.2.53'), ['192.0.0.0/16']);
    assert.deepEqual(close(['192.0.2.52/30'], '192.0.2.53'), ['192.0.2.52', '192.0.2.54/31']);
  });

  it('does not merge what overrides another route', () => {
    assert.deepEqual(close(['10.0.0.0/25', '10.0.0.128/25'], '10.9.9.9'), [
      '10.0.0.0/25',
      '10.0.0.128/25',
    ]);
  });

  it('leaves a network alone that would be a part', () => {
    const parts = close(['192.0.2.0/23'], '192.0.3.255');
    assert.ok(!parts.includes('192.0.2.0/24'), parts.join());
    assert.ok(parts.includes('192.0.3.0/25'), parts.join());
  });
});
