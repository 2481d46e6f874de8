/**
 * What is said to be captured is captured: other routes inside it are overridden, a rule before the
 * main table ends the tunnel, connected networks are named. Each at the start and while it runs.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import {
  API1,
  API1_6,
  JUMPHOST4,
  PRIVATE4,
  PRIVATE6,
  UPLINK4,
  UPLINK6,
} from '../support/addresses.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { MAIN, REMOTE, runTunnel, startTunnel } from '../support/tunnel.ts';

/** An event is looked at within NETWATCH_SETTLE_MS; the rest is a margin for a busy machine. */
const NOTICED_MS = 5_000;

describe('a capture that is diverted', { skip: labUnavailable() }, () => {
  let lab: Lab;
  let tunnel: Child | undefined;
  let undo: string[] = [];
  before(async () => {
    lab = await Lab.create();
  });
  after(async () => {
    await lab?.close();
  });
  beforeEach(() => {
    tunnel = undefined;
    undo = [];
  });
  afterEach(async () => {
    await tunnel?.stop('SIGINT');
    for (const line of undo.toReversed()) await lab.client.exec(['ip', ...line.split(' ')]);
  });

  async function ip(
    line: string,
    reverse = line.replace(/\b(add|prepend)\b/, 'del'),
  ): Promise<void> {
    const { status, stderr } = await lab.client.exec(['ip', ...line.split(' ')]);
    assert.equal(status, 0, `${line}: ${stderr}`);
    undo.push(reverse);
  }

  /** Who answers, as the client sees it: through the tunnel only the API host itself can. */
  async function fetch(address: string): Promise<string> {
    const host = address.includes(':') ? `[${address}]` : address;
    const { stdout, stderr } = await lab.client.exec([
      'curl',
      '-gsS',
      '--max-time',
      '5',
      `http://${host}/`,
    ]);
    return stdout === '' ? stderr : 'carried';
  }

  async function deviceTo(address: string): Promise<string> {
    const { stdout } = await lab.client.exec(['ip', 'route', 'get', address]);
    return / dev (\S+)/.exec(stdout)?.[1] ?? stdout;
  }

  async function start(...args: string[]): Promise<Child> {
    tunnel = await startTunnel(lab.client, args);
    return tunnel;
  }

  for (const [what, target, address, lines] of [
    [
      'a rule',
      PRIVATE4,
      API1,
      ['route add default via 192.0.2.1 table 77', 'rule add pref 500 lookup 77'],
    ],
    [
      'a rule for a part',
      PRIVATE4,
      '10.77.0.130',
      ['route add default via 192.0.2.1 table 77', 'rule add pref 500 to 10.77.0.128/25 lookup 77'],
    ],
    [
      'a rule for a user',
      PRIVATE4,
      API1,
      [
        'route add default via 192.0.2.1 table 77',
        'rule add pref 500 uidrange 4711-4711 lookup 77',
      ],
    ],
    [
      'a rule for a port',
      PRIVATE4,
      API1,
      [
        'route add default via 192.0.2.1 table 77',
        'rule add pref 500 ipproto tcp dport 443 lookup 77',
      ],
    ],
    [
      'a table of parts',
      PRIVATE4,
      API1,
      ['route add 10.77.0.11/32 via 192.0.2.1 table 77', 'rule add pref 500 lookup 77'],
    ],
    ['a rule that refuses', PRIVATE4, API1, ['rule add pref 500 to 10.77.0.0/24 prohibit']],
    [
      'a rule of IPv6',
      PRIVATE6,
      API1_6,
      [
        '-6 route add default via 2001:db8:1::1 table 77',
        '-6 rule add pref 500 to 2001:db8:77::/64 lookup 77',
      ],
    ],
  ] as const) {
    it(`${what} before the main table ends it, at the start`, async () => {
      for (const line of lines) await ip(line);
      const { status, stderr } = await runTunnel(lab.client, ['-r', REMOTE, target]);
      assert.equal(status, 6, stderr);
      assert.match(stderr, /not captured: /);
      assert.match(stderr, /the rule 500/);
      assert.doesNotMatch(stderr, /: ready/);
      void address;
    });

    it(`${what} before the main table ends it while it runs`, async () => {
      const child = await start(target);
      for (const line of lines) await ip(line);
      await child.waitForLine(/not captured: .*the rule 500/, NOTICED_MS);
      assert.equal((await child.exited).status, 6);
      tunnel = undefined;
    });
  }

  it('goes on with --allow-diverted, and says once what is not captured', async () => {
    const child = await start('--allow-diverted', PRIVATE4);
    await ip('route add default via 192.0.2.1 table 77');
    await ip('rule add pref 500 to 10.77.0.128/25 lookup 77');
    await child.waitForLine(/not captured: .*table 77/, NOTICED_MS);
    assert.equal(await fetch(API1), 'carried');
    await ip('route add 203.0.113.0/24 via 192.0.2.1');
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    assert.equal(child.stderr.match(/not captured/g)?.length, 1);
  });

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
  ] as const) {
    it(`overrides ${what}`, async () => {
      const child = await start(target);
      await ip(route);
      await child.waitForLine(/overridden, because it is captured/, NOTICED_MS);
      assert.match(await deviceTo(address), /^tun/);
      assert.equal(await fetch(address), 'carried');
      assert.equal(child.stderr.match(/overridden/g)?.length, 1);
    });
  }

  for (const [target, address, route] of [
    ['10.77.0.0/24', API1, `route add 10.77.0.11/32 via ${UPLINK4}`],
    [PRIVATE6, API1_6, `-6 route add ${API1_6}/128 via ${UPLINK6} metric 10`],
  ] as const) {
    it(`overrides a route that is there at the start: ${route}`, async () => {
      await ip(route);
      const child = await start(target);
      assert.match(child.stderr, /overridden, because it is captured: the route/);
      assert.equal(await fetch(address), 'carried');
      await child.stop('SIGINT');
      tunnel = undefined;
      assert.equal(await deviceTo(address), 'uplink', 'the other route is still there');
    });
  }

  it('overrides whoever narrows its routes again three times, then ends', async () => {
    const child = await start('10.77.0.0/24');
    for (const [i, length] of [25, 26, 27, 28, 29].entries()) {
      await ip(`route prepend 10.77.0.0/${length} via ${UPLINK4}`);
      if (i < 3) await child.waitForLine(new RegExp(`overridden.*10.77.0.0/${length}`), NOTICED_MS);
      else break;
    }
    await child.waitForLine(/not captured: 10.77.0.0\/28 goes .*whatever/, NOTICED_MS);
    assert.equal((await child.exited).status, 6);
    tunnel = undefined;
  });

  it('leaves connected networks out and names them; --capture-local takes them', async () => {
    await ip('link add lan type bridge');
    await ip('addr add 10.77.0.1/24 dev lan', 'link set lan down');
    await lab.client.configure(['link set lan up']);
    const child = await start(PRIVATE4);
    assert.match(child.stderr, /left out: 10\.77\.0\.0\/24 is connected by lan/);
    assert.equal(await deviceTo(API1), 'lan');
    assert.match(await deviceTo('10.77.1.1'), /^tun/);
    await child.stop('SIGINT');
    const local = await start('--capture-local', PRIVATE4);
    assert.doesNotMatch(local.stderr, /left out/);
    assert.equal(await fetch(API1), 'carried');
  });

  it('names a network that is connected while it runs', async () => {
    const child = await start(PRIVATE4);
    await ip('link add lan type bridge');
    await lab.client.configure(['link set lan up', 'addr add 10.77.5.1/24 dev lan']);
    await child.waitForLine(/left out: 10\.77\.5\.0\/24 is connected by lan/, NOTICED_MS);
  });

  it('overrides a route that only looks connected', async () => {
    const child = await start('10.77.0.0/24');
    await ip('route add 10.77.0.0/25 dev uplink proto kernel scope link');
    await child.waitForLine(/overridden, because/, NOTICED_MS);
    assert.equal(await fetch(API1), 'carried');
  });

  it('puts up with rules that ask the main table first, as wg-quick makes them', async () => {
    await ip('route add default via 192.0.2.1 table 51820');
    await ip('rule add pref 32765 not fwmark 51820 table 51820');
    await ip('rule add pref 32764 table main suppress_prefixlength 0');
    const child = await start(PRIVATE4);
    assert.doesNotMatch(child.stderr, /captured:|overridden|left out/);
    assert.equal(await fetch(API1), 'carried');
  });

  it("never overrides another tunnel's routes", async () => {
    await ip('link add tun9 type bridge');
    await lab.client.configure(['link set tun9 up']);
    const child = await start('10.77.0.0/24');
    await ip('route add 10.77.0.128/25 dev tun9 proto 116');
    await child.waitForLine(/left out: 10\.77\.0\.128\/25 belongs to another tunnel/, NOTICED_MS);
    assert.equal(await deviceTo('10.77.0.129'), 'tun9');
    assert.doesNotMatch(child.stderr, /overridden/);
  });

  it('needs no ip program', async () => {
    await ip('route add default via 192.0.2.1 table 77');
    await ip('rule add pref 500 lookup 77');
    const program = [process.execPath, MAIN, '-r', REMOTE, PRIVATE4].join(' ');
    const { status, stderr } = await lab.client.exec(['sh', '-c', `PATH=/nowhere ${program}`]);
    assert.equal(status, 6, stderr);
    assert.match(stderr, /the rule 500/);
  });

  it('captures everything beside the uplink, and its gateway and jump host stay', async () => {
    const child = await start('0/0', '--capture-local');
    assert.match(child.stderr, /left out: 192\.0\.2\.1 is the gateway by uplink/);
    assert.equal(await deviceTo(UPLINK4), 'uplink');
    assert.equal(await deviceTo(JUMPHOST4), 'uplink');
    assert.match(await deviceTo('192.0.2.77'), /^tun/);
    assert.equal(await fetch(API1), 'carried');
  });
});
