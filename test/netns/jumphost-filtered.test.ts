/**
 * A jump host inside the targets, behind filters that drop what comes in by another device than a
 * route leads to: the kernel's own, and packet filters as of firewalld and NixOS.
 */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { API1, API1_6, JUMPHOST4, JUMPHOST6, PRIVATE4, PRIVATE6 } from '../support/addresses.ts';
import { CapturedJumpHostLab, LAN } from '../support/capturedjumphost.ts';
import { JUMP_USER } from '../support/credentials.ts';
import { labUnavailable } from '../support/lab.ts';

const SOON_MS = 20_000;
const REVERSE_PATH = `table inet firewall {
  chain prerouting {
    type filter hook prerouting priority mangle + 10; policy accept;
    icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
    fib saddr . iif oif missing drop
  }
}
`;

describe('a jump host inside the targets, behind a strict filter', {
  skip: labUnavailable('ss', 'nft'),
}, () => {
  const lab = new CapturedJumpHostLab();
  const rpFilter = (value: 0 | 1) =>
    lab.client.configure([], [`net/ipv4/conf/all/rp_filter=${value}`]);
  const filter = (rules: string) => lab.client.exec(['nft', '-f', '-'], { input: rules });
  afterEach(async () => {
    await rpFilter(0);
    await filter('table inet firewall\ndelete table inet firewall\n');
  });

  for (const transport of ['ssh2', 'openssh']) {
    const options = ['--transport', transport];

    it(`of the kernel, ${transport}`, async () => {
      await rpFilter(1);
      const child = await lab.start([...options, '-r', `${JUMP_USER}@${JUMPHOST4}`, '0/0']);
      assert.equal(await lab.fetch(API1), 'carried');
      assert.equal(await lab.deviceTo(JUMPHOST4), 'uplink');
      await lab.lab.sshd.restart();
      await child.waitForLine(/reconnected/, SOON_MS);
      assert.equal(await lab.fetch(API1), 'carried');
      assert.doesNotMatch(child.stderr, /no answer/);
    });

    it(`of the kernel, in a local network, ${transport}`, async () => {
      await rpFilter(1);
      await lab.start([...options, '-r', `${JUMP_USER}@${LAN.jumpHost4}`, '10.0.0.0/8']);
      assert.equal(await lab.fetch(API1), 'carried');
      assert.equal(await lab.reached(LAN.neighbour4), LAN.client4);
    });

    for (const [family, address, network, api] of [
      ['IPv4', JUMPHOST4, ['198.51.100.0/24', PRIVATE4], API1],
      ['IPv6', JUMPHOST6, ['2001:db8:2::/64', PRIVATE6], API1_6],
    ] as const) {
      it(`of a firewall, ${family}, ${transport}`, async () => {
        await filter(REVERSE_PATH);
        const host = family === 'IPv6' ? `[${address}]` : address;
        const child = await lab.start([...options, '-r', `${JUMP_USER}@${host}`, ...network]);
        await child.waitForLine(/not captured: .*drops the jump host's answers/, SOON_MS);
        assert.equal(await lab.deviceTo(address), 'uplink');
        assert.equal(await lab.fetch(api), 'carried');
        assert.doesNotMatch(child.stderr, /link lost/);
        await lab.lab.sshd.restart();
        await child.waitForLine(/reconnected/, SOON_MS);
        assert.equal(await lab.fetch(api), 'carried');
      });
    }
  }

  it('captures it again after a path that dropped everything', async () => {
    const args = ['--keepalive', '1', '-r', `${JUMP_USER}@${JUMPHOST4}`, '198.51.100.0/24'];
    const child = await lab.start([...args, PRIVATE4]);
    await lab.lab.uplink.exec(['nft', '-f', '-'], {
      input:
        'table inet cut { chain cut { type filter hook forward priority 0; policy drop; }; }\n',
    });
    await child.waitForLine(/does not answer/, SOON_MS);
    await lab.becomes(() => lab.deviceTo(JUMPHOST4), /^uplink/);
    await lab.lab.uplink.exec(['nft', 'delete', 'table', 'inet', 'cut']);
    await child.waitForLine(/reconnected/, SOON_MS);
    await lab.becomes(() => lab.deviceTo(JUMPHOST4), /^tun/);
    assert.equal(await lab.fetch(API1), 'carried');
    assert.doesNotMatch(child.stderr, /not captured/);
  });
});
