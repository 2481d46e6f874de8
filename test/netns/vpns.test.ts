/**
 * Another VPN beside the tunnel, by what it leaves on the machine: a device that leads to the
 * uplink on a way of its own, with the routes that OpenVPN makes (redirect-gateway def1) or the
 * rules of wg-quick.
 *
 *   client --- uplink (the network)      10.8.0.0/24   client --- vpn0 (the VPN) --- uplink
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { API1, JUMPHOST4, PRIVATE4 } from '../support/addresses.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { type Child, mustRun } from '../support/process.ts';
import { startTunnel } from '../support/tunnel.ts';

const NOTICED_MS = 20_000;
const POLL_MS = 100;
const VPN = { client: '10.8.0.2', server: '10.8.0.1' } as const;
const DEF1 = [
  `route add 0.0.0.0/1 via ${VPN.server} dev vpn0`,
  `route add 128.0.0.0/1 via ${VPN.server} dev vpn0`,
];
const WG_QUICK = [
  `route add default dev vpn0 via ${VPN.server} table 51820`,
  'rule add not fwmark 51820 table 51820',
  'rule add table main suppress_prefixlength 0',
];

describe('another VPN', { skip: labUnavailable('curl', 'ss') }, () => {
  let lab: Lab;
  let tunnel: Child | undefined;
  let rules: string[] = [];
  before(async () => {
    lab = await Lab.create();
  });
  beforeEach(async () => {
    await mustRun(['ip', '-batch', '-'], {
      input: `link add name vpn0 netns ${lab.client.name} type veth peer name vpn0 netns ${lab.uplink.name}\n`,
    });
    for (const [host, address] of [
      [lab.client, VPN.client],
      [lab.uplink, VPN.server],
    ] as const)
      await host.configure([`addr add ${address}/24 dev vpn0`, 'link set dev vpn0 up']);
  });
  afterEach(async () => {
    await tunnel?.stop('SIGINT');
    tunnel = undefined;
    await leave();
  });
  after(() => lab?.close());

  const join = (lines: readonly string[]) => {
    rules = lines
      .filter((line) => line.startsWith('rule '))
      .map((line) => line.replace('add', 'del'));
    return lab.client.configure(lines);
  };
  /** Its routes go with the device, its rules don't. */
  const leave = async () => {
    await lab.client.configure(rules.splice(0));
    await lab.client.exec(['ip', 'link', 'del', 'vpn0']);
  };
  const carries = async (): Promise<boolean> => {
    const argv = ['curl', '-sS', '--max-time', '5', `http://${API1}/`];
    return /"host":"api1"/.test((await lab.client.exec(argv)).stdout);
  };
  /** The client's address on the connection to the jump host. */
  const linkFrom = async (): Promise<string> => {
    const { stdout } = await lab.client.exec([
      'ss',
      '-Htn',
      'state',
      'established',
      'dst',
      JUMPHOST4,
    ]);
    return /(\d+\.\d+\.\d+\.\d+)(?:%\S+)?:\d+ +\d/.exec(stdout)?.[1] ?? stdout;
  };
  const until = async (what: string, happens: () => Promise<boolean>): Promise<void> => {
    const end = performance.now() + NOTICED_MS;
    while (!(await happens())) {
      assert.ok(performance.now() < end, `${what}\n${tunnel?.stderr}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  };

  for (const [name, lines] of [
    ['OpenVPN', DEF1],
    ['WireGuard', WG_QUICK],
  ] as const) {
    it(`${name} carries the SSH connection, and the tunnel its targets`, async () => {
      await join(lines);
      tunnel = await startTunnel(lab.client, [PRIVATE4]);
      assert.ok(await carries());
      assert.equal(await linkFrom(), VPN.client);
    });

    it(`${name} comes while the tunnel runs, and goes again`, async () => {
      tunnel = await startTunnel(lab.client, [PRIVATE4]);
      assert.ok(await carries());
      await join(lines);
      await until('not captured beside the VPN', carries);
      await leave();
      await until('not captured after the VPN', carries);
    });
  }

  it('OpenVPN beside a tunnel for everything: its routes are overridden, which is said', async () => {
    await join(DEF1);
    tunnel = await startTunnel(lab.client, ['0/0']);
    assert.ok(await carries());
    assert.match(tunnel.stderr, /vpn0/);
  });
});
