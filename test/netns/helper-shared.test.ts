/** The privileged helper: addresses that several tunnels share, and which of them is asked. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inNamespace } from '../support/helperlab.ts';
import { labUnavailable } from '../support/requirements.ts';

describe('helper: shared addresses', { skip: labUnavailable() }, () => {
  it('lets tunnels share addresses, of which the kernel takes one, and the next when that goes', () =>
    inNamespace([], async (namespace) => {
      const tunnels = [
        await namespace.tunnel(),
        await namespace.tunnel(),
        await namespace.tunnel(),
      ];
      const [one, two, three] = tunnels;
      assert.ok(one !== undefined && two !== undefined && three !== undefined);
      const shared = ['192.0.2.53/32=shared', '2001:db8::53/128=shared'];
      for (const tunnel of tunnels) await tunnel.client.must('routes', ...shared);
      const leads = async (device: string) => {
        assert.match(await namespace.ip('route get 192.0.2.53'), new RegExp(`dev ${device} `));
        assert.match(await namespace.ip('-6 route get 2001:db8::53'), new RegExp(`dev ${device} `));
      };
      await leads('tun0');
      // Neither a target nor what contains it may be somebody else's.
      for (const wanted of ['192.0.2.53/32', '192.0.2.0/24', '0.0.0.0/0']) {
        const error = await two.client.fails('routes', wanted);
        assert.equal(error.code, 'already-running', wanted);
      }
      // But who shares the address may have a wider target, and others still share it.
      await two.client.must('routes', '192.0.2.0/24', ...shared);
      await three.client.must('routes');
      await three.client.must('routes', ...shared);
      await one.client.must('close');
      await leads('tun1');
      await two.client.must('routes', '192.0.2.0/24', ...shared, '10.0.0.0/8');
      await two.client.must('close');
      await leads('tun2');
      await three.client.must('routes', '10.0.0.0/8');
      assert.deepEqual(await namespace.routes('tun2'), [
        '10.0.0.0/8',
        '198.18.2.0/24',
        '2001:2:0:2::/64',
      ]);
    }));

  it('leaves a shared address to whoever has had it longer, also if a later tunnel gets a freed block', () =>
    inNamespace([], async (namespace) => {
      const one = await namespace.tunnel();
      const two = await namespace.tunnel();
      const shared = ['192.0.2.53/32=shared', '2001:db8::53/128=shared'];
      for (const { client } of [one, two]) await client.must('routes', ...shared);
      const orderOf = async (command: string) =>
        [...(await namespace.ip(command)).matchAll(/dev (\S+) .*metric (\d+)/g)]
          .map(([, device, metric]) => `${device} ${metric}`)
          .toSorted();
      const orders = () =>
        Promise.all([orderOf('route show 192.0.2.53'), orderOf('-6 route show 2001:db8::53')]);
      const order = async () => {
        const [four, six] = await orders();
        assert.deepEqual(four, six);
        return four;
      };
      await one.client.must('close');
      const three = await namespace.tunnel();
      assert.equal(three.device.address4, '198.18.0.1', 'the block of the first');
      await three.client.must('routes', ...shared);
      assert.deepEqual(await order(), ['tun0 18', 'tun1 17']);

      // A route keeps its place through other requests, and when somebody removes it.
      await two.client.must('routes', ...shared, '10.0.0.0/8');
      await namespace.ip('route del 192.0.2.53 dev tun1');
      await namespace.ip('-6 route del 2001:db8::53 dev tun1');
      // The helper puts it back before it looks at a second request.
      for (let i = 0; i < 2; i++) await two.client.must('routes', ...shared);
      assert.deepEqual(await order(), ['tun0 18', 'tun1 17']);
      // Whoever gives it up and wants it again comes last.
      await two.client.must('routes');
      await two.client.must('routes', ...shared);
      assert.deepEqual(await order(), ['tun0 18', 'tun1 19']);

      // Those that come at once take one after the other, and each family has an order of its own.
      await two.client.must('routes');
      const four = await namespace.tunnel();
      await Promise.all([two, four].map(({ client }) => client.must('routes', ...shared)));
      for (const family of await orders()) {
        const metrics = family.map((it) => it.split(' ')[1]);
        assert.deepEqual(metrics.toSorted(), ['18', '19', '20']);
      }
    }));

  it('takes a free metric of a shared address when the last one is in use', () =>
    inNamespace([], async (namespace) => {
      await namespace.ip('link set lo up');
      await namespace.ip('route add 192.0.2.53 dev lo proto 116 metric 527');
      const { client } = await namespace.tunnel();
      await client.must('routes', '192.0.2.53/32=shared');
      assert.match(await namespace.ip('route show 192.0.2.53'), /dev tun0 proto 116 metric 16/);
    }));

  it('lets no tunnel come before others at an address that is shared, by an override', () =>
    inNamespace([], async (namespace) => {
      const one = await namespace.tunnel();
      const two = await namespace.tunnel();
      const shared = ['192.0.2.53/32=shared', '2001:db8::53/128=shared'];
      const overriding = shared.map((prefix) => `${prefix}=preferred`);
      for (const { client } of [one, two]) await client.must('routes', ...shared);
      const error = await two.client.fails('routes', ...overriding);
      assert.equal(error.code, 'already-running');
      assert.match(await namespace.ip('route get 192.0.2.53'), /dev tun0 /);
      assert.match(await namespace.ip('-6 route get 2001:db8::53'), /dev tun0 /);
      // What it may override is another program's route.
      await namespace.ip('route add 192.0.2.53 dev lo');
      await namespace.ip('-6 route add 2001:db8::53 dev lo metric 2');
      await two.client.must('routes', ...shared, ...overriding, '10.1.0.0/16');
      assert.match(await namespace.ip('route get 192.0.2.53'), /dev tun1 /);
      assert.match(await namespace.ip('-6 route get 2001:db8::53'), /dev tun1 /);
      await one.client.must('routes', ...shared, '10.2.0.0/16');
      await two.client.must('routes', ...overriding, ...shared);
      await two.client.must('routes');
      await namespace.ip('route del 192.0.2.53 dev lo');
      await namespace.ip('-6 route del 2001:db8::53 dev lo');
      assert.match(await namespace.ip('route get 192.0.2.53'), /dev tun0 /);
      assert.match(await namespace.ip('-6 route get 2001:db8::53'), /dev tun0 /);
    }));

  it('lets no tunnel share an address that another one has captured', () =>
    inNamespace([], async (namespace) => {
      const one = await namespace.tunnel();
      const two = await namespace.tunnel();
      await one.client.must('routes', '10.0.0.0/8');
      const error = await two.client.fails('routes', '10.0.0.53/32=shared');
      assert.equal(error.code, 'already-running');
      await one.client.must('routes', '10.0.0.0/8', '10.0.0.53/32=shared');
      await two.client.must('routes', '10.0.0.53/32=shared');
    }));
});
