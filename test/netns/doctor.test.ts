/** `tunnel doctor`: what it says about different machines, and that it changes none of them. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { JUMPHOST4, PRIVATE4 } from '../support/addresses.ts';
import { ExecLab, type ExecOptions } from '../support/execlab.ts';
import { labUnavailable } from '../support/lab.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN } from '../support/tunnel.ts';

interface Report {
  readonly captures: readonly { name: string; possible: boolean; why: string }[];
  readonly findings: readonly { name: string; state: string; detail: string; hint?: string }[];
}

describe('doctor', { skip: labUnavailable('openssl', 'unshare') || closedToOthers(MAIN) }, () => {
  let lab: ExecLab;
  before(async () => {
    lab = await ExecLab.create();
  });
  after(async () => {
    await lab?.close();
  });

  async function doctor(
    args: readonly string[],
    options: ExecOptions = {},
  ): Promise<{ status: number | null; stdout: string; stderr: string }> {
    const argv = lab.userArgv([process.execPath, MAIN, 'doctor', ...args], options);
    return lab.lab.client.exec(argv, { env: { HOME: lab.home } });
  }

  async function report(
    args: readonly string[],
    options: ExecOptions = {},
    expected = 0,
  ): Promise<Report> {
    const { status, stdout, stderr } = await doctor(['--json', ...args], options);
    assert.equal(stderr, '');
    assert.equal(status, expected, stdout);
    return JSON.parse(stdout) as Report;
  }

  function finding({ findings }: Report, name: string) {
    const found = findings.find((item) => item.name === name);
    assert.ok(found !== undefined, name);
    return found;
  }
  const possible = ({ captures }: Report) =>
    captures.filter((capture) => capture.possible).map(({ name }) => name);

  it('tries namespaces, finds everything that captures need, and changes nothing', async () => {
    const untouched = await lab.lab.client.hostState();
    const found = await report(['--offline', '-r', `u@${JUMPHOST4}`, PRIVATE4]);
    assert.deepEqual(
      possible(found).filter((name) => name !== 'connect'),
      ['exec', 'proxy'],
    );
    assert.equal(finding(found, 'namespaces').state, 'ok');
    assert.equal(finding(found, 'tun-device').state, 'ok');
    assert.equal(finding(found, 'routes').detail, 'none is in the way of the targets');
    assert.equal(finding(found, 'rules').state, 'ok');
    assert.match(finding(found, 'resolver').detail, /asks 192\.0\.2\.1,/);
    assert.equal(finding(found, 'jump-host').detail, `u@${JUMPHOST4}, port 22`);
    assert.equal(await lab.lab.client.hostState(), untouched);
  });

  it('says that root can capture for the whole machine', async () => {
    const found = await report([], { root: true });
    assert.deepEqual(possible(found), ['connect', 'exec', 'proxy']);
    assert.equal(finding(found, 'helper').detail, 'this is root');
  });

  it('says why capture is not possible without a device, and exits with 6', async () => {
    const found = await report([], { script: 'rm /dev/net/tun && exec "$@"' }, 6);
    assert.deepEqual(possible(found), ['proxy']);
    assert.match(finding(found, 'tun-device').detail, /there is no \/dev\/net\/tun/);
    assert.match(finding(found, 'tun-device').hint ?? '', /modprobe tun/);
    assert.match(found.captures[1]?.why ?? '', /no TUN device/);
  });

  it('distinguishes a device that users may not open from a missing one', async () => {
    const found = await report([], { root: true, script: 'chmod 600 /dev/net/tun && exec "$@"' });
    assert.equal(finding(found, 'tun-device').state, 'ok');
    const user = await doctor(['--json'], { script: 'chmod 600 /dev/net/tun && exec "$@"' });
    assert.match(finding(JSON.parse(user.stdout), 'namespaces').detail, /only root may open/);
  });

  it('names the routes, rules and resolvers that win over targets', async () => {
    await lab.lab.client.configure([
      'route add 10.77.3.0/24 via 192.0.2.1',
      'rule add fwmark 7 lookup 52 priority 5210',
    ]);
    try {
      const found = await report([PRIVATE4, '192.0.0.0/8']);
      assert.match(
        finding(found, 'routes').detail,
        /10\.77\.3\.0\/24 dev uplink wins over 10\.77\.0\.0\/16/,
      );
      assert.match(
        finding(found, 'routes').detail,
        /192\.0\.2\.0\/24 dev uplink wins over 192\.0\.0\.0\/8/,
      );
      assert.equal(
        finding(found, 'rules').detail,
        'IPv4 5210: from all fwmark 0x7 lookup 52; none applies to a target',
      );
      assert.match(finding(found, 'resolver').hint ?? '', /-x 192\.0\.2\.1/);
      for (const name of ['routes', 'resolver'])
        assert.equal(finding(found, name).state, 'warning');
    } finally {
      await lab.lab.client.configure(['rule del priority 5210', 'route del 10.77.3.0/24']);
    }
  });

  it('prints a table for people', async () => {
    const { stdout, status } = await doctor(['no-such-prefix.invalid/8']);
    assert.equal(status, 2, stdout);
    const table = (await doctor([])).stdout;
    assert.match(table, /^exec {2,}yes {2,}captures for one command, without root$/m);
    assert.match(table, /^namespaces {2,}ok {2,}a network for one command can be made \(tried\)$/m);
  });
});
