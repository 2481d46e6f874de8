/** What is said of each way on which captured addresses leave. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatPrefix, parsePrefix } from '../../../../src/net/prefix.ts';
import { findDiversions, MAX_SAMPLES } from '../../../../src/system/routing/diversion.ts';
import { FakeRouting } from '../../../support/fakerouting.ts';

const prefix = (text: string) => parsePrefix(text).prefix;
const TUNNEL = { protocol: 116 };

function find(routing: FakeRouting, captured: readonly string[], captureLocal = false) {
  const question = { captured: captured.map(prefix), device: 'tun0', captureLocal };
  const { leftOut, inTheWay, diverted, incomplete } = findDiversions(routing, question);
  return {
    leftOut: leftOut.map((one) => `${formatPrefix(one.prefix)} ${one.why}`),
    inTheWay: inTheWay.map(({ destination, way }) => `${formatPrefix(destination)} ${way}`),
    diverted,
    incomplete,
  };
}
const WELL = { leftOut: [], inTheWay: [], diverted: [], incomplete: false };

const routing = () =>
  new FakeRouting()
    .add('0.0.0.0/0 via 192.0.2.1 dev eth0')
    .address('192.0.2.0/24', 'eth0')
    .add('10.0.0.0/8 dev tun0', TUNNEL);

describe('findDiversions', () => {
  it('says nothing of what leads to the device, whatever is outside', () => {
    const fine = routing().add('172.16.0.0/12 via 192.0.2.9').rule(500, 77);
    assert.deepEqual(find(fine, ['10.0.0.0/8']), WELL);
  });

  it('finds routes of others inside, by their first and last addresses', () => {
    const found = find(
      routing()
        .add('10.1.2.3/32 via 192.0.2.9 dev eth0')
        .add('10.2.0.0/16 dev wg0')
        .add('10.2.0.0/24 dev tun0', TUNNEL),
      ['10.0.0.0/8'],
    );
    assert.deepEqual(found, {
      ...WELL,
      inTheWay: ['10.1.2.3 via 192.0.2.9 dev eth0', '10.2.0.0/16 dev wg0'],
    });
  });

  it('leaves connected networks and gateways out, unless they are wanted', () => {
    const lan = routing()
      .address('10.5.0.0/24', 'wlan0')
      .add('10.6.0.1/32 dev eth0')
      .add('0.0.0.0/0 via 10.6.0.1 dev eth0');
    const gateway = '10.6.0.1 is the gateway by eth0';
    assert.deepEqual(find(lan, ['10.0.0.0/8']).leftOut.toSorted(), [
      '10.5.0.0/24 is connected by wlan0',
      gateway,
    ]);
    const wanted = find(lan, ['10.0.0.0/8'], true);
    assert.deepEqual(wanted.leftOut, [gateway]);
    assert.deepEqual(wanted.inTheWay, ['10.5.0.0/24 dev wlan0']);
  });

  for (const [what, add] of [
    [
      'of the kernel without an address',
      (r: FakeRouting) => r.add('10.5.0.0/24 dev wlan0', { protocol: 2 }),
    ],
    [
      'of DHCP with an address',
      (r: FakeRouting) => {
        r.addresses.push({ prefix: prefix('10.5.0.0/24'), device: 2 });
        return r.add('10.5.0.0/24 dev wlan0', { protocol: 16 });
      },
    ],
    [
      'by a gateway in that network',
      (r: FakeRouting) => {
        r.addresses.push({ prefix: prefix('10.5.0.0/24'), device: 2 });
        return r.add('10.5.0.0/24 via 10.5.0.9 dev wlan0', { protocol: 2 });
      },
    ],
    [
      'with an address of another device',
      (r: FakeRouting) => {
        r.addresses.push({ prefix: prefix('10.5.0.0/24'), device: 1 });
        return r.add('10.5.0.0/24 dev wlan0', { protocol: 2 });
      },
    ],
  ] as const) {
    it(`takes no route for connected ${what}`, () => {
      const found = find(add(routing()), ['10.0.0.0/8']);
      assert.deepEqual(found.leftOut, []);
      assert.equal(found.inTheWay.length, 1);
    });
  }

  it('says nothing of an address that is shared with another tunnel', () => {
    const routing = new FakeRouting()
      .add('10.0.0.0/8 dev tun0', { protocol: 116 })
      .add('10.0.0.53/32 dev tun0', { protocol: 116, metric: 17 })
      .add('10.0.0.53/32 dev tun1', { protocol: 116, metric: 16 });
    const captured = ['10.0.0.0/8', '10.0.0.53'].map((text) => parsePrefix(text).prefix);
    const found = findDiversions(routing, { captured, device: 'tun0', captureLocal: false });
    assert.deepEqual([found.leftOut, found.inTheWay, found.diverted], [[], [], []]);
  });

  it('never has another tunnel in the way, and leaves blocks in place', () => {
    const found = find(
      routing().add('10.7.0.0/16 dev tun1', TUNNEL).add('10.8.0.0/16', { type: 7, device: 0 }),
      ['10.0.0.0/8'],
    );
    assert.deepEqual(found, {
      ...WELL,
      leftOut: [
        '10.7.0.0/16 belongs to another tunnel, tun1',
        '10.8.0.0/16 is blocked by a route of this machine',
      ],
    });
  });

  it('finds what a rule leads elsewhere, for a part, a user or a port', () => {
    for (const [more, said] of [
      [{}, '10.0.0.1 goes to wg0 by table 77, which the rule 500 asks first'],
      [
        { destination: prefix('10.9.0.0/24') },
        '10.9.0.1 goes to wg0 by table 77, which the rule 500 asks first',
      ],
      [
        { uid: 1000 },
        '10.0.0.1 for user 1000 goes to wg0 by table 77, which the rule 500 asks first',
      ],
      [
        { port: 443 },
        '10.0.0.1 at port 443 goes to wg0 by table 77, which the rule 500 asks first',
      ],
    ] as const) {
      const ruled = routing().add('0.0.0.0/0 dev wg0', { table: 77 }).rule(500, 77, more);
      const found = find(ruled, ['10.0.0.0/8']);
      assert.equal(found.diverted[0], said);
      assert.deepEqual(found.inTheWay, []);
    }
  });

  it('finds a part of a table that a rule asks first, and a rule that refuses', () => {
    const part = routing().add('10.3.0.0/16 dev wg0', { table: 52 }).rule(5270, 52);
    assert.match(
      find(part, ['10.0.0.0/8']).diverted[0] ?? '',
      /^10\.3\.0\.1 goes to wg0 by table 52/,
    );
    const refused = routing().rule(400, 0, { action: 8, destination: prefix('10.4.0.0/16') });
    assert.match(
      find(refused, ['10.0.0.0/8']).diverted[0] ?? '',
      /^10\.4\.0\.1 is refused by the rule 400/,
    );
  });

  it('says so when the own route is not there', () => {
    const gone = routing().remove('10.0.0.0/8');
    assert.match(
      find(gone, ['10.0.0.0/8']).diverted[0] ?? '',
      /goes to eth0 by the route 0\.0\.0\.0\/0/,
    );
  });

  it('asks once for each of many prefixes, and finds what is inside all the same', () => {
    const many = routing();
    const captured = Array.from({ length: 1000 }, (_, i) => `10.${i >> 7}.${(i & 127) * 2}.0/24`);
    many.add('10.1.2.0/25 dev wg0').add('10.1.2.0/28 dev tun0', TUNNEL);
    assert.deepEqual(find(many, captured).inTheWay, ['10.1.2.0/25 dev wg0']);
    assert.ok(many.lookUps < 1010, `${many.lookUps}`);
  });

  it('has a limit for its questions', () => {
    const many = routing();
    for (let i = 0; i < MAX_SAMPLES; i++) many.add(`10.${i >> 8}.${i & 255}.0/24 dev tun1`);
    const answer = many.lookUp({ address: '10.0.0.1' });
    many.lookUp = () => answer; // as fast as one
    assert.equal(find(many, ['10.0.0.0/8']).incomplete, true);
  });
});
