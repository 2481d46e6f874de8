/** Routes of others inside what is captured are overridden, connected networks are named. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  API1,
  API1_6,
  JUMPHOST4,
  PRIVATE4,
  PRIVATE6,
  UPLINK4,
  UPLINK6,
} from '../support/addresses.ts';
import { CaptureLab, NOTICED_MS } from '../support/capturelab.ts';
import { labUnavailable } from '../support/lab.ts';

describe('a capture with other routes inside', { skip: labUnavailable() }, () => {
  const lab = new CaptureLab();

  for (const [what, target, address, route] of [
    ['a more specific route', '10.77.0.0/24', API1, `route add 10.77.0.0/25 via ${UPLINK4}`],
    ['a route to one address', '10.77.0.0/24', API1, `route add 10.77.0.11/32 via ${UPLINK4}`],
    [
      'a route to one address without a gateway',
      '10.77.0.0/24',
      API1,
      'route add 10.77.0.11/32 dev uplink',
    ],
    [
      'the same prefix with a better metric (IPv6)',
      PRIVATE6,
      API1_6,
      `-6 route add ${PRIVATE6} via ${UPLINK6} metric 10`,
    ],
    [
      'a more specific route (IPv6)',
      PRIVATE6,
      API1_6,
      `-6 route add 2001:db8:77::/96 via ${UPLINK6} metric 1`,
    ],
    [
      'a route to one address (IPv6)',
      PRIVATE6,
      API1_6,
      `-6 route add ${API1_6}/128 via ${UPLINK6} metric 10`,
    ],
    ['the same prefix in front', '10.77.0.0/24', API1, `route prepend 10.77.0.0/24 via ${UPLINK4}`],
    ['the same address in front', API1, API1, `route prepend ${API1}/32 via ${UPLINK4}`],
    [
      'the same address with a better metric (IPv6)',
      API1_6,
      API1_6,
      `-6 route add ${API1_6}/128 via ${UPLINK6} metric 10`,
    ],
  ] as const) {
    it(`overrides ${what}`, async () => {
      const child = await lab.start(target);
      await lab.ip(route);
      await child.waitForLine(/overridden, because it is captured/, NOTICED_MS);
      assert.match(await lab.deviceTo(address), /^tun/);
      assert.equal(await lab.fetch(address), 'carried');
      assert.equal(child.stderr.match(/overridden/g)?.length, 1);
    });
  }

  for (const [target, address, route] of [
    ['10.77.0.0/24', API1, `route add 10.77.0.11/32 via ${UPLINK4}`],
    [PRIVATE6, API1_6, `-6 route add ${API1_6}/128 via ${UPLINK6} metric 10`],
    ['10.77.0.0/24', API1, `route add 10.77.0.0/24 via ${UPLINK4}`],
    ['10.77.0.0/24', API1, `route add 10.77.0.0/24 via ${UPLINK4} proto dhcp metric 100`],
    [PRIVATE6, API1_6, `-6 route add ${PRIVATE6} via ${UPLINK6} metric 1`],
    [API1, API1, `route add ${API1}/32 via ${UPLINK4}`],
    [API1_6, API1_6, `-6 route add ${API1_6}/128 via ${UPLINK6} metric 1024`],
  ] as const) {
    it(`overrides a route that is there at the start: ${route}`, async () => {
      await lab.ip(route);
      const child = await lab.start(target);
      assert.match(child.stderr, /overridden, because it is captured: the route/);
      assert.equal(await lab.fetch(address), 'carried');
      await child.stop('SIGINT');
      assert.equal(await lab.deviceTo(address), 'uplink', 'the other route is still there');
    });
  }

  it('overrides whoever narrows its routes again three times, then ends', async () => {
    const child = await lab.start('10.77.0.0/24');
    for (const [i, length] of [25, 26, 27, 28, 29].entries()) {
      await lab.ip(`route prepend 10.77.0.0/${length} via ${UPLINK4}`);
      if (i < 3) await child.waitForLine(new RegExp(`overridden.*10.77.0.0/${length}`), NOTICED_MS);
      else break;
    }
    await child.waitForLine(/not captured: 10.77.0.0\/28 goes .*whatever/, NOTICED_MS);
    assert.equal((await child.exited).status, 6);
  });

  it('leaves connected networks out and names them; --capture-local takes them', async () => {
    await lab.ip('link add lan type bridge');
    await lab.ip('addr add 10.77.0.1/24 dev lan', 'link set lan down');
    await lab.client.configure(['link set lan up']);
    const child = await lab.start(PRIVATE4);
    assert.match(child.stderr, /left out: 10\.77\.0\.0\/24 is connected by lan/);
    assert.equal(await lab.deviceTo(API1), 'lan');
    assert.match(await lab.deviceTo('10.77.1.1'), /^tun/);
    await child.stop('SIGINT');
    const local = await lab.start('--capture-local', PRIVATE4);
    assert.doesNotMatch(local.stderr, /left out/);
    assert.equal(await lab.fetch(API1), 'carried');
  });

  it('names a network that is connected while it runs', async () => {
    const child = await lab.start(PRIVATE4);
    await lab.ip('link add lan type bridge');
    await lab.client.configure(['link set lan up', 'addr add 10.77.5.1/24 dev lan']);
    await child.waitForLine(/left out: 10\.77\.5\.0\/24 is connected by lan/, NOTICED_MS);
  });

  it('overrides a route that only looks connected', async () => {
    const child = await lab.start('10.77.0.0/24');
    await lab.ip('route add 10.77.0.0/25 dev uplink proto kernel scope link');
    await child.waitForLine(/overridden, because/, NOTICED_MS);
    assert.equal(await lab.fetch(API1), 'carried');
  });

  it("never overrides another tunnel's routes", async () => {
    await lab.ip('link add tun9 type bridge');
    await lab.client.configure(['link set tun9 up']);
    const child = await lab.start('10.77.0.0/24');
    await lab.ip('route add 10.77.0.128/25 dev tun9 proto 116');
    await child.waitForLine(/left out: 10\.77\.0\.128\/25 belongs to another tunnel/, NOTICED_MS);
    assert.equal(await lab.deviceTo('10.77.0.129'), 'tun9');
    assert.doesNotMatch(child.stderr, /overridden/);
  });

  it('captures everything beside the uplink, and its gateway stays', async () => {
    const child = await lab.start('0/0', '--capture-local');
    assert.match(child.stderr, /left out: 192\.0\.2\.1 is the gateway by uplink/);
    assert.equal(await lab.deviceTo(UPLINK4), 'uplink');
    assert.match(await lab.deviceTo(JUMPHOST4), /^tun/);
    assert.match(await lab.deviceTo('192.0.2.77'), /^tun/);
    assert.equal(await lab.fetch(API1), 'carried');
  });
});
