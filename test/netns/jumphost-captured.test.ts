/**
 * The jump host's address inside the targets: the SSH connection stays out of the tunnel, and for
 * its sake there is no route narrower than the targets.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { API1, API1_6, CLIENT4, JUMPHOST4, JUMPHOST6, PRIVATE4 } from '../support/addresses.ts';
import { CapturedJumpHostLab, FAR4, LAN, SECOND } from '../support/capturedjumphost.ts';
import { JUMP_USER } from '../support/credentials.ts';
import { labUnavailable } from '../support/lab.ts';

const AT_ONCE_MS = 20_000;

const remote = (address: string, port = 22) => {
  const host = address.includes(':') ? `[${address}]` : address;
  return ['-r', port === 22 ? `${JUMP_USER}@${host}` : `${JUMP_USER}@${host}:${port}`];
};

describe('a jump host inside the targets', { skip: labUnavailable('ss') }, () => {
  const lab = new CapturedJumpHostLab();

  it('what is excluded in a local network leaves its neighbours alone', async () => {
    const far = remote(JUMPHOST4);
    await lab.start([...far, '10.0.0.0/8', '-x', LAN.jumpHost4]);
    assert.equal(await lab.reached(LAN.neighbour4), LAN.client4);
    assert.match(await lab.deviceTo('10.88.1.1'), /^tun/);
    await lab.stop();
    await lab.start([...far, '10.0.0.0/8', '10.88.0.20/30', '-x', '10.88.0.21']);
    assert.match(await lab.deviceTo(LAN.neighbour4), /^tun/, 'it is a target itself');
    assert.equal(await lab.deviceTo('10.88.0.21'), 'lan');
    assert.equal(await lab.deviceTo(LAN.jumpHost4), 'lan');
  });

  for (const transport of ['ssh2', 'openssh']) {
    const options = ['--transport', transport];

    it(`in a local network within a target, ${transport}`, async () => {
      await lab.start([...options, ...remote(LAN.jumpHost4), '10.0.0.0/8']);
      assert.deepEqual(await lab.captured(), ['10.0.0.0/8']);
      assert.deepEqual(await lab.boundTo(), ['lan']);
      assert.equal(await lab.reached(LAN.neighbour4), LAN.client4);
      assert.equal(await lab.fetch(API1), 'carried');
    });

    it(`in a local network that is a target, ${transport}`, async () => {
      const args = [...options, ...remote(LAN.jumpHost4), '10.88.0.0/24', PRIVATE4];
      const child = await lab.start(args);
      assert.match(child.stderr, /left out: 10\.88\.0\.0\/24 is connected by lan/);
      assert.deepEqual(await lab.captured(), [PRIVATE4]);
      assert.equal(await lab.reached(LAN.neighbour4), LAN.client4);
      assert.equal(await lab.fetch(API1), 'carried');
      await lab.ip('link set lan down', 'link set lan up');
      await child.waitForLine(/link lost/, AT_ONCE_MS);
      await lab.becomes(() => lab.deviceTo(LAN.neighbour4), /^tun/);
      await lab.restore('lan');
      await child.waitForLine(/reconnected/, AT_ONCE_MS);
      await lab.becomes(() => lab.deviceTo(LAN.neighbour4), /^lan/);
      assert.equal(await lab.fetch(API1), 'carried');
    });

    it(`in a local network that is captured, ${transport}`, async () => {
      for (const targets of [['10.0.0.0/8'], ['10.88.0.0/24', PRIVATE4]]) {
        const local = ['--capture-local', ...targets];
        const child = await lab.start([...options, ...remote(LAN.jumpHost4), ...local]);
        assert.doesNotMatch(child.stderr, /left out/);
        assert.match(await lab.reached(LAN.neighbour4), /^198\.18\./);
        assert.equal(await lab.fetch(API1), 'carried');
        await lab.stop();
      }
    });

    it(`behind a gateway, ${transport}`, async () => {
      await lab.start([...options, ...remote(FAR4), '10.99.0.0/24', PRIVATE4]);
      assert.deepEqual(await lab.captured(), ['10.77.0.0/16', '10.99.0.0/24']);
      assert.deepEqual(await lab.boundTo(), ['uplink']);
      assert.equal(await lab.fetch(API1), 'carried');
    });

    it(`inside 0/0, ${transport}`, async () => {
      await lab.start([...options, ...remote(JUMPHOST4), '0/0']);
      assert.ok((await lab.captured()).every((prefix) => !prefix.startsWith('198.51.100')));
      assert.match(await lab.deviceTo(JUMPHOST4), /^tun/);
      assert.deepEqual(await lab.boundTo(), ['uplink']);
      assert.equal(await lab.fetch(API1), 'carried');
    });

    it(`inside ::/0, ${transport}`, async () => {
      await lab.start([...options, ...remote(JUMPHOST6), '::/0']);
      assert.match(await lab.deviceTo(JUMPHOST6), /^tun/);
      assert.deepEqual(await lab.boundTo(), ['uplink']);
      assert.equal(await lab.fetch(API1_6), 'carried');
    });

    it(`in a local network of IPv6, ${transport}`, async () => {
      await lab.start([...options, ...remote(LAN.jumpHost6), '2001:db8::/32']);
      assert.deepEqual(await lab.captured(), ['2001:db8::/32']);
      assert.equal(await lab.reached(LAN.neighbour6), LAN.client6);
      assert.equal(await lab.fetch(API1_6), 'carried');
    });

    it(`by a link-local address, ${transport}`, async () => {
      await lab.start([...options, ...remote(`${LAN.jumpHostLinkLocal}%lan`), '::/0', '0/0']);
      assert.equal(await lab.fetch(API1), 'carried');
      assert.equal(await lab.fetch(API1_6), 'carried');
    });

    it(`several of them, the first one silent, ${transport}`, async () => {
      const servers = [...remote(JUMPHOST4, 7005), ...remote(JUMPHOST6), ...remote(JUMPHOST4)];
      await lab.start([...options, ...servers, '0/0', '::/0']);
      assert.deepEqual(await lab.boundTo(), ['uplink']);
      assert.equal(await lab.fetch(API1), 'carried');
    });

    it(`a hop inside the targets, ${transport}`, async () => {
      const through = ['-J', `${JUMP_USER}@${LAN.jumpHost4}`, ...remote('10.77.0.1')];
      await lab.start([...options, ...through, '10.0.0.0/8']);
      assert.deepEqual(await lab.captured(), ['10.0.0.0/8']);
      assert.deepEqual(await lab.boundTo(), ['lan']);
      assert.equal(await lab.reached(LAN.neighbour4), LAN.client4);
      assert.equal(await lab.fetch(API1), 'carried');
    });

    it(`from a certain address, ${transport}`, async () => {
      await lab.ip(`rule add from ${SECOND.client4} lookup 77`);
      await lab.ip(`route add default via ${SECOND.gateway4} table 77`);
      const bound = ['-o', `BindAddress=${SECOND.client4}`];
      await lab.start([...options, ...bound, ...remote(JUMPHOST4), '0/0']);
      assert.deepEqual(await lab.boundTo(), ['second']);
      assert.equal(await lab.fetch(API1), 'carried');
    });

    it(`with a name that has several addresses, ${transport}`, async () => {
      const hosts = join(lab.lab.directory, 'client-hosts');
      const addresses = [JUMPHOST6, JUMPHOST4, '192.0.2.77'];
      writeFileSync(hosts, addresses.map((one) => `${one} gate.lab.example\n`).join(''));
      const mounted = ['unshare', '--mount', 'sh', '-c'];
      const launcher = [...mounted, 'mount --bind "$0" /etc/hosts && exec "$@"', hosts];
      const args = [...options, ...remote('gate.lab.example'), '0/0', '::/0'];
      await lab.start(args, launcher);
      assert.deepEqual(await lab.boundTo(), ['uplink']);
      assert.equal(await lab.fetch(API1), 'carried');
    });

    it(`with another uplink while it runs, ${transport}`, async () => {
      const child = await lab.start([...options, ...remote(JUMPHOST4), '0/0']);
      await lab.ip(`route add default via ${SECOND.gateway4} metric 50`);
      await lab.ip('link set uplink down', 'link set uplink up');
      await child.waitForLine(/reconnected/, AT_ONCE_MS);
      assert.deepEqual(await lab.boundTo(), ['second']);
      assert.equal(await lab.fetch(API1), 'carried');
      assert.match(await lab.deviceTo(JUMPHOST4), /^tun/);
    });

    it(`with another uplink after an outage, ${transport}`, async () => {
      const child = await lab.start([...options, ...remote(JUMPHOST4), '0/0']);
      await lab.ip('link set uplink down', 'link set uplink up');
      await child.waitForLine(/link lost/, AT_ONCE_MS);
      await lab.ip(`route add default via ${SECOND.gateway4}`);
      await child.waitForLine(/reconnected/, AT_ONCE_MS);
      assert.deepEqual(await lab.boundTo(), ['second']);
      assert.equal(await lab.fetch(API1), 'carried');
    });

    it(`by the device of another VPN, ${transport}`, async () => {
      await lab.ip(`route add default via ${SECOND.gateway4} table 52`);
      await lab.ip('rule add pref 5270 to 198.51.100.0/24 lookup 52');
      const args = ['--allow-diverted', ...remote(JUMPHOST4), '198.51.100.0/24', PRIVATE4];
      const child = await lab.start([...options, ...args]);
      assert.deepEqual(await lab.boundTo(), ['second']);
      await lab.lab.sshd.restart();
      await child.waitForLine(/reconnected/, AT_ONCE_MS);
      assert.deepEqual(await lab.boundTo(), ['second']);
      assert.equal(await lab.fetch(API1), 'carried');
    });

    it(`by the device of a VPN that takes the default route, ${transport}`, async () => {
      await lab.ip(`route add default via ${SECOND.gateway4} table 51820`);
      await lab.ip('rule add pref 32765 not fwmark 51820 table 51820');
      await lab.ip('rule add pref 32764 table main suppress_prefixlength 0');
      const child = await lab.start([...options, ...remote(JUMPHOST4), '0/0']);
      assert.deepEqual(await lab.boundTo(), ['second']);
      await lab.lab.sshd.restart();
      await child.waitForLine(/reconnected/, AT_ONCE_MS);
      assert.deepEqual(await lab.boundTo(), ['second']);
      assert.equal(await lab.fetch(API1), 'carried');
    });

    it(`other connections to it go past the tunnel, ${transport}`, async () => {
      const child = await lab.start([...options, ...remote(JUMPHOST4), '0/0']);
      await lab.lab.sshd.waitForLog(/./);
      const before = lab.lab.sshd.log().length;
      assert.match(await lab.reached(JUMPHOST4), /^198\.18\./);
      assert.match(
        lab.lab.sshd.log().slice(before),
        new RegExp(`Connection from ${CLIENT4.replaceAll('.', '\\.')} `),
      );
      assert.match(child.stderr, /ready/);
    });

    it(`by a ProxyCommand to the local network, ${transport}`, async () => {
      const command = ['-o', `ProxyCommand=nc ${LAN.jumpHost4} 22`];
      const args = [...options, ...command, ...remote('jump.lab.example'), '10.0.0.0/8'];
      const child = await lab.start(args);
      assert.match(child.stderr, /left out: 10\.88\.0\.0\/24 is connected by lan/);
      assert.equal(await lab.reached(LAN.neighbour4), LAN.client4);
      assert.match(await lab.deviceTo('10.88.1.1'), /^tun/);
      assert.equal(await lab.fetch(API1), 'carried');
      await lab.stop();
      await lab.start(['--capture-local', ...args]);
      assert.match(await lab.reached(LAN.neighbour4), /^198\.18\./);
      assert.equal(await lab.deviceTo(LAN.jumpHost4), 'lan');
      assert.equal(await lab.fetch(API1), 'carried');
    });
  }

  it("by a command of the user's own (-e)", async () => {
    await lab.start(['-e', 'ssh -v', ...remote(LAN.jumpHost4), '10.0.0.0/8']);
    assert.deepEqual(await lab.captured(), ['10.0.0.0/8']);
    assert.deepEqual(await lab.boundTo(), ['lan']);
    await lab.stop();
    // In another network namespace there are no routes of ours, and no such devices.
    const elsewhere = `nsenter --net=/run/netns/${lab.lab.uplink.name} ssh`;
    await lab.start(['-e', elsewhere, ...remote(JUMPHOST4), '0/0']);
    assert.equal(await lab.fetch(API1), 'carried');
  });
});
