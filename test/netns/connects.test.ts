/**
 * How connections through the tunnel look to an application, over a link with a measurable
 * round-trip time.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  ABSENT4,
  API1,
  API1_6,
  API2,
  BLACKHOLE4,
  HARDENED_PERMIT_OPEN,
  JUMPHOST4,
  Port,
  PRIVATE4,
  PRIVATE6,
  UNREACHABLE4,
  UNREACHABLE6,
} from '../support/addresses.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { type Attempt, dial, MAIN, REMOTE, startDialer, startTunnel } from '../support/tunnel.ts';
import { until } from '../support/until.ts';

const RTT_MS = 100;
/** One round trip carries a refusal; more than this would be two. */
const ONE_ROUND_TRIP_MS = 1.9 * RTT_MS;
/** The limit for an answer within one round trip. */
const ATTEMPTS = 4;

/**
 * Waits until the link is idle: sshd up to 10.0 leaves Nagle's algorithm on without a session
 * channel, so an answer waits for the acknowledgement of earlier data.
 */
function quiet(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 3 * RTT_MS));
}

async function connectTo(lab: Lab, host: string, port: number): Promise<Attempt> {
  const [attempt] = await dial<Attempt[]>(lab.client, 'connect', host, port);
  assert.ok(attempt !== undefined);
  return attempt;
}

/**
 * Connects to one port after the other until one is answered within a round trip. Only the fastest
 * counts: a busy machine delays some, a second round trip would delay all.
 */
async function answeredInTime(
  lab: Lab,
  host: string,
  ports: readonly number[],
  outcome: string,
): Promise<void> {
  const times: number[] = [];
  for (const port of ports) {
    await quiet();
    const attempt = await connectTo(lab, host, port);
    assert.equal(attempt.outcome, outcome);
    assert.ok(attempt.ms > RTT_MS * 0.9, `${attempt.ms} ms: nobody can have asked the far side`);
    times.push(attempt.ms);
    if (attempt.ms < ONE_ROUND_TRIP_MS) return;
  }
  assert.fail(`${times.join(', ')} ms`);
}

/** TCP sockets of the jump host that lead to an address and port, in any state but TIME-WAIT. */
async function connectionsFromJumphost(lab: Lab, host: string, port: number): Promise<number> {
  const { stdout } = await lab.jumphost.exec([
    'ss',
    '-Htn',
    'exclude',
    'time-wait',
    `dst ${host} and dport = :${port}`,
  ]);
  return stdout.split('\n').filter((line) => line !== '').length;
}

describe('connects through an open jump host', { skip: labUnavailable() }, () => {
  let lab: Lab;
  let tunnel: Child;
  before(async () => {
    lab = await Lab.create({ rtt: RTT_MS, sshd: 'open' });
    tunnel = await startTunnel(lab.client, ['-vv', PRIVATE4, PRIVATE6]);
  });
  after(async () => {
    await tunnel?.stop('SIGINT');
    await lab?.close();
  });

  it('come from the jump host, over IPv4 and IPv6', async () => {
    for (const [url, peer] of [
      [`http://${API1}/`, '10.77.0.1'],
      [`http://[${API1_6}]/`, '2001:db8:77::1'],
    ] as const) {
      const { stdout, stderr } = await lab.client.exec(['curl', '-gsS', url]);
      assert.equal(stderr, '');
      assert.deepEqual(JSON.parse(stdout).peer, peer);
    }
  });

  it('find exactly the open ports among 200', async () => {
    const open = [
      Port.echo,
      Port.discard,
      Port.chargen,
      Port.http,
      Port.reset,
      Port.stall,
      Port.flood,
      Port.half,
    ] as number[];
    const ports = [...new Set([...Array.from({ length: 192 }, (_, i) => i + 1), ...open])];
    const attempts = await dial<Attempt[]>(lab.client, 'connect', API1, ...ports);
    const found = attempts.filter(({ outcome }) => outcome === 'open').map(({ port }) => port);
    const byNumber = (a: number, b: number) => a - b;
    assert.deepEqual(found.sort(byNumber), open.sort(byNumber));
    for (const { port, outcome } of attempts) {
      if (!open.includes(port)) assert.equal(outcome, 'ECONNREFUSED', `port ${port}`);
    }
  });

  for (const [what, host, port, outcome] of [
    ['a closed port is refused', API1, Port.closed, 'ECONNREFUSED'],
    ['a closed port is refused (IPv6)', API1_6, Port.closed, 'ECONNREFUSED'],
    ['an unreachable host is unreachable', UNREACHABLE4, 80, 'EHOSTUNREACH'],
    ['an unreachable host is unreachable (IPv6)', UNREACHABLE6, 80, 'EHOSTUNREACH'],
  ] as const) {
    it(`${what}, within one round trip`, () =>
      answeredInTime(lab, host, Array<number>(ATTEMPTS).fill(port), outcome));
  }

  it('fail as unreachable when the jump host finds no such host', async () => {
    const attempt = await connectTo(lab, ABSENT4, 80);
    assert.equal(attempt.outcome, 'EHOSTUNREACH');
  });

  it('stay silent where the far side is silent, and leave nothing when the application gives up', async () => {
    const { outcome } = await dial<{ outcome: string }>(
      lab.client,
      'give-up',
      BLACKHOLE4,
      80,
      1500,
    );
    assert.equal(outcome, 'given up');
  });

  it('complete no earlier than the far side has connected', async () => {
    const attempt = await connectTo(lab, API1, Port.echo);
    assert.equal(attempt.outcome, 'open');
    assert.ok(attempt.ms > RTT_MS * 0.9, `connected after ${attempt.ms} ms`);
  });

  it('keep half-close in both directions', async () => {
    const { text } = await dial<{ text: string }>(lab.client, 'half-close', API1, Port.echo);
    assert.equal(text, '0123456789bye 10 bytes\n');
    const other = await dial<{ text: string }>(lab.client, 'half-close', API1_6, Port.half);
    const id = /^half (\S+)/.exec(other.text)?.[1];
    assert.ok(id !== undefined, other.text);
    const { stdout } = await lab.client.exec(['curl', '-gsS', `http://[${API1_6}]/half/${id}`]);
    assert.deepEqual(
      { bytes: JSON.parse(stdout).bytes, ended: JSON.parse(stdout).ended },
      { bytes: 10, ended: true },
    );
  });

  it('are reset when the far side resets', async () => {
    const holder = await startDialer(lab.client, 'echo', API1, Port.reset, 1, 100_000);
    const { status } = await holder.exited;
    assert.equal(status, 0);
    assert.match(holder.stdout, /"wrong":1/);
  });

  it('close the channel when the application is killed', async () => {
    const holder = await startDialer(lab.client, 'hold', API2, Port.echo, 10);
    await holder.waitForLine(/held 10\n/);
    assert.equal(await connectionsFromJumphost(lab, API2, Port.echo), 10);
    await holder.stop('SIGKILL');
    await until(
      async () => (await connectionsFromJumphost(lab, API2, Port.echo)) === 0,
      'the jump host still has the connections of a dead application',
    );
  });

  it('end when the application resets an upload that is stuck', async () => {
    const { sent } = await dial<{ sent: number }>(lab.client, 'fill-reset', API2, Port.stall);
    assert.ok(sent > 1 << 20, `only ${sent} bytes were taken`);
    // sshd keeps its own connection for as long as the far side takes none of the data that it
    // still has.
    await tunnel.waitForLine(new RegExp(`${API2}:${Port.stall}: ended`), 5000);
  });

  it('survive far sides that reset as soon as they have accepted', async () => {
    const script =
      'require("net").createServer((s) => s.resetAndDestroy()).listen(7100, () => console.log("listening"))';
    const server = await lab.api1.spawn([process.execPath, '-e', script]);
    await server.waitForLine(/listening\n/);
    try {
      await dial(lab.client, 'connect', API1, ...Array.from({ length: 90 }, () => 7100));
      assert.equal(tunnel.ended, undefined, tunnel.stderr);
      assert.equal((await connectTo(lab, API1, Port.http)).outcome, 'open');
    } finally {
      await server.stop('SIGKILL');
    }
  });

  it('hold back a sender whose reader stalls', async () => {
    const holder = await startDialer(lab.client, 'echo', API2, Port.stall, 1, 64 << 20);
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const { stdout } = await lab.client.exec(['cat', `/proc/${tunnel.pid}/status`]);
    const resident = Number(/VmRSS:\s+(\d+) kB/.exec(stdout)?.[1]);
    await holder.stop('SIGKILL');
    assert.ok(resident < 160 * 1024, `${resident} kB resident with one stalled reader of 64 MiB`);
  });

  it('by UDP are refused at once, and ping gets "prohibited"', async () => {
    for (const host of [API1, API1_6]) {
      const times: number[] = [];
      while (times.length < 10 && !times.some((ms) => ms < RTT_MS / 2)) {
        const attempt = await dial<{ outcome: string; ms: number }>(lab.client, 'udp', host, 443);
        assert.equal(attempt.outcome, 'ECONNREFUSED');
        times.push(attempt.ms);
      }
      assert.ok(Math.min(...times) < RTT_MS / 2, `${times.join(', ')} ms`);
    }
    const ping = await lab.client.exec(['ping', '-c', '1', '-W', '2', API1]);
    assert.match(ping.stdout, /Packet filtered/);
  });

  it('do not capture the jump host itself', async () => {
    const { stdout } = await lab.client.exec(['ip', 'route', 'get', JUMPHOST4]);
    assert.doesNotMatch(stdout, /dev tun\d/);
  });
});

describe('connects through a hardened jump host', { skip: labUnavailable() }, () => {
  let lab: Lab;
  let tunnel: Child;
  before(async () => {
    lab = await Lab.create({ rtt: RTT_MS, sshd: 'hardened' });
    tunnel = await startTunnel(lab.client, [PRIVATE4, PRIVATE6]);
  });
  after(async () => {
    await tunnel?.stop('SIGINT');
    await lab?.close();
  });

  it('reach what PermitOpen lists', async () => {
    assert.ok(HARDENED_PERMIT_OPEN.includes(`${API1}:${Port.http}`));
    for (const host of [API1, `[${API1_6}]`]) {
      const { stdout, stderr } = await lab.client.exec(['curl', '-gsS', `http://${host}/`]);
      assert.equal(stderr, '');
      assert.equal(JSON.parse(stdout).host, 'api1');
    }
    assert.equal((await connectTo(lab, API1, Port.closed)).outcome, 'ECONNREFUSED');
  });

  for (const [family, host, outcome] of [
    ['IPv4', API1, 'EHOSTUNREACH'],
    ['IPv6', API1_6, 'EACCES'],
  ] as const) {
    // Each port once: the tunnel remembers prohibited destinations for a while.
    it(`are prohibited for what it doesn't list, within one round trip (${family})`, () =>
      answeredInTime(lab, host, [Port.discard, Port.chargen, Port.flood, Port.stall], outcome));
  }
});

describe('targets and exclusions', { skip: labUnavailable() }, () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
  });
  after(async () => {
    await lab?.close();
  });

  it('limit a target to its ports: other ports are prohibited at once', async () => {
    const tunnel = await startTunnel(lab.client, [`${PRIVATE4}:80`, `${PRIVATE4}:7000-7100`]);
    try {
      assert.equal((await connectTo(lab, API1, Port.http)).outcome, 'open');
      assert.equal((await connectTo(lab, API1, Port.half)).outcome, 'open');
      assert.equal((await connectTo(lab, API1, Port.echo)).outcome, 'EHOSTUNREACH');
    } finally {
      await tunnel.stop('SIGINT');
    }
  });

  it('leave excluded addresses to their old route', async () => {
    const tunnel = await startTunnel(lab.client, [PRIVATE4, '-x', API2]);
    try {
      assert.equal((await connectTo(lab, API1, Port.http)).outcome, 'open');
      const { stdout } = await lab.client.exec(['ip', 'route', 'get', API2]);
      assert.doesNotMatch(stdout, /dev tun\d/);
    } finally {
      await tunnel.stop('SIGINT');
    }
  });

  it('survive an excluded port that resets as soon as it has accepted', async () => {
    const script =
      'require("net").createServer((s) => s.resetAndDestroy()).listen(9999, () => console.log("listening"))';
    const server = await lab.uplink.spawn([process.execPath, '-e', script]);
    await server.waitForLine(/listening\n/);
    const tunnel = await startTunnel(lab.client, ['198.51.100.0/24', '-x', '198.51.100.1:9999']);
    try {
      await dial(lab.client, 'connect', '198.51.100.1', ...Array.from({ length: 50 }, () => 9999));
      assert.equal(tunnel.ended, undefined, tunnel.stderr);
    } finally {
      await tunnel.stop('SIGINT');
      await server.stop('SIGKILL');
    }
  });

  it('use no descriptors', async () => {
    const limited = ['prlimit', '--nofile=164', process.execPath, MAIN, '-r', REMOTE, PRIVATE4];
    const tunnel = await lab.client.spawn(limited);
    try {
      await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
      const holder = await startDialer(lab.client, 'hold', API1, Port.echo, 500);
      await holder.waitForLine(/held 500\n/);
      assert.equal((await connectTo(lab, API1, Port.http)).outcome, 'open');
      await holder.stop('SIGKILL');
    } finally {
      await tunnel.stop('SIGINT');
    }
  });

  it('send excluded ports directly, and capture the jump host’s own network without its address', async () => {
    const server = await lab.uplink.spawn([
      'ncat',
      '-lk',
      '198.51.100.1',
      '8080',
      '-c',
      'echo $NCAT_REMOTE_ADDR',
    ]);
    const tunnel = await startTunnel(lab.client, ['198.51.100.0/24', '-x', '198.51.100.1:8080']);
    try {
      const { stdout } = await lab.client.exec(['ncat', '--recv-only', '198.51.100.1', '8080']);
      assert.equal(
        stdout.trim(),
        '192.0.2.2',
        'the excluded port was reached through the jump host',
      );
      const { outcome } = await connectTo(lab, '198.51.100.1', 8081);
      assert.equal(outcome, 'ECONNREFUSED');
      assert.match(
        (await lab.client.exec(['ip', 'route', 'get', '198.51.100.1'])).stdout,
        /dev tun\d/,
      );
    } finally {
      await tunnel.stop('SIGINT');
      await server.stop('SIGKILL');
    }
  });
});
