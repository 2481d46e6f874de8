/**
 * A host firewall that lets only answers in: captured connections are outgoing ones, so it doesn't
 * stop them.
 *
 *   application --SYN--> tunN --> program: far side connects --SYN-ACK--> tunN --> INPUT:
 *   established --> application
 *
 * The rule sets are those that people use: a policy of drop with conntrack (ufw, NixOS), strict
 * reverse-path filtering by the kernel (rp_filter) and by the packet filter (firewalld). Everything
 * is in the lab's client namespace.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { API1, API1_6, Port, PRIVATE4, PRIVATE6, UNREACHABLE4 } from '../support/addresses.ts';
import { pseudoRandomDigest } from '../support/bytes.ts';
import { INPUT_DROP, switchOff, switchOn } from '../support/firewall.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { type Attempt, dial, startTunnel } from '../support/tunnel.ts';

const SIZE = 2_000_000;
/** Takes about three seconds: long enough to switch a firewall on in the middle. */
const SLOW_SIZE = 3_000_000;
const SLOW_RATE = '1M';

/** Like firewalld's (IPv6_rpfilter=strict), for both families. */
const REVERSE_PATH = `
  chain prerouting {
    type filter hook prerouting priority mangle + 10; policy accept;
    icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
    fib saddr . iif oif missing counter name astray drop
  }
  counter astray {}
`;

const FIREWALLS: Readonly<Record<string, string>> = {
  'policy drop': INPUT_DROP,
  'policy drop and a reverse-path filter': INPUT_DROP + REVERSE_PATH,
};

/** Strict (RFC 3704): a packet must come in where an answer would go out. */
const strictReversePath = (lab: Lab): Promise<void> =>
  lab.client.configure(
    [],
    ['all', 'default', 'uplink'].map((device) => `net/ipv4/conf/${device}/rp_filter=1`),
  );

/** Checks that the firewall works: a stranger's connection to the client fails. */
async function keepsOut(lab: Lab): Promise<void> {
  const server = await lab.client.spawn(['ncat', '-lk', '8081']);
  try {
    const { stdout } = await lab.uplink.exec([
      ...['sh', '-c', 'ncat -zw 1 192.0.2.2 8081; echo $?; ncat -zw 1 2001:db8:1::2 8081; echo $?'],
    ]);
    assert.equal(stdout, '1\n1\n');
  } finally {
    await server.stop('SIGKILL');
  }
}

async function carries(lab: Lab): Promise<void> {
  for (const host of [API1, `[${API1_6}]`]) {
    const command = `curl -gsS --max-time 10 'http://${host}/bytes/${SIZE}?seed=firewall' | sha256sum`;
    const { stdout, stderr } = await lab.client.exec(['sh', '-c', command]);
    assert.equal(stderr, '', host);
    assert.equal(stdout.split(' ')[0], pseudoRandomDigest(SIZE, 'firewall'), host);
  }
  const echoed = await dial(lab.client, 'echo', API1, Port.echo, 20, 200_000);
  assert.deepEqual(echoed, { flows: 20, wrong: 0 });
}

async function refuses(lab: Lab): Promise<void> {
  for (const [host, port, outcome] of [
    [API1, Port.closed, 'ECONNREFUSED'],
    [API1_6, Port.closed, 'ECONNREFUSED'],
    [UNREACHABLE4, 80, 'EHOSTUNREACH'],
  ] as const) {
    const times: number[] = [];
    // Only the fastest counts: a busy machine delays some. An answer that is lost delays all, until
    // the SYN is sent again.
    while (times.length < 5 && !times.some((ms) => ms < 900)) {
      const [attempt] = await dial<Attempt[]>(lab.client, 'connect', host, port);
      assert.equal(attempt?.outcome, outcome, host);
      times.push(attempt.ms);
    }
    assert.ok(Math.min(...times) < 900, `${host}: ${times.join(', ')} ms`);
  }
}

/** The packet count of a firewall counter. */
async function counted(lab: Lab, name: string): Promise<number> {
  const { stdout } = await lab.client.exec(['nft', 'list', 'counter', 'inet', 'firewall', name]);
  return Number(/packets (\d+)/.exec(stdout)?.[1]);
}

describe('connect behind a host firewall', {
  skip: labUnavailable('curl', 'nft', 'ncat'),
  timeout: 180_000,
}, () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
    await strictReversePath(lab);
  });
  after(async () => {
    await lab?.close();
  });

  for (const [name, rules] of Object.entries(FIREWALLS)) {
    it(`works with ${name}: v4, v6, refusals`, async () => {
      await switchOn(lab, rules);
      let tunnel: Child | undefined;
      try {
        await keepsOut(lab);
        const refused = await counted(lab, 'refused');
        tunnel = await startTunnel(lab.client, [PRIVATE4, PRIVATE6]);
        const strict = await lab.client.exec(['cat', '/proc/sys/net/ipv4/conf/tun0/rp_filter']);
        assert.equal(strict.stdout, '1\n');
        await carries(lab);
        await refuses(lab);
        assert.equal(await counted(lab, 'refused'), refused, 'packets that the firewall refused');
        if (rules.includes('astray')) assert.equal(await counted(lab, 'astray'), 0);
      } finally {
        await tunnel?.stop('SIGINT');
        await switchOff(lab);
      }
    });
  }

  for (const [name, rules] of Object.entries(FIREWALLS)) {
    it(`goes on when ${name} is switched on while it runs`, async () => {
      const tunnel = await startTunnel(lab.client, [PRIVATE4, PRIVATE6]);
      const echo = await lab.client.spawn(['ncat', API1, String(Port.echo)], { stdin: 'open' });
      try {
        echo.write('before\n');
        await echo.waitForLine(/before\n/);
        const downloads = [API1, `[${API1_6}]`].map((host) => {
          const url = `http://${host}/bytes/${SLOW_SIZE}?seed=slow`;
          return lab.client.exec([
            'sh',
            '-c',
            `curl -gsS --limit-rate ${SLOW_RATE} '${url}' | sha256sum`,
          ]);
        });
        await delay(1000);
        await switchOn(lab, rules);
        await keepsOut(lab);
        await carries(lab);
        await refuses(lab);
        for (const { stdout, stderr } of await Promise.all(downloads)) {
          assert.equal(stderr, '');
          assert.equal(stdout.split(' ')[0], pseudoRandomDigest(SLOW_SIZE, 'slow'));
        }
        echo.write('after\n');
        await echo.waitForLine(/after\n/);
        // Longer than the check of captured routes needs to find a fault, if it does.
        await delay(1000);
        assert.equal(tunnel.ended, undefined, tunnel.stderr);
      } finally {
        await echo.stop('SIGKILL');
        await tunnel.stop('SIGINT').catch(() => {});
        await switchOff(lab);
      }
    });
  }
});
