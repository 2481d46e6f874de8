/**
 * What runs out: descriptors here and at the jump host, channels, the disk. And a jump host that
 * no longer permits what it did.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MAX_CHANNELS } from '../../src/ssh/limits.ts';
import { API1, API2, Port, PRIVATE4 } from '../support/addresses.ts';
import {
  connectOnce,
  count,
  curl,
  holdOne,
  inLab,
  SLACK_MS,
  withTunnel,
} from '../support/faultlab.ts';
import { measured } from '../support/faults.ts';
import { type Lab, labUnavailable } from '../support/lab.ts';
import { mustRun } from '../support/process.ts';
import { type Attempt, dial, MAIN, REMOTE } from '../support/tunnel.ts';

/** Of processes that it starts from now on, as each login. Default: as many as can be here. */
const FLOOD = 20_000;
const FLOOD_OF_ONE = 4_000;
const SSHD_DESCRIPTORS = 40;
const DIALER = fileURLToPath(new URL('../support/dialer.js', import.meta.url));

interface FloodReport {
  readonly open: number;
  /** Of the open ones. */
  readonly reset: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly pending: number;
}

/** For processes that it starts from now on: each login's. Default: as many as are allowed here. */
async function limitSshd(lab: Lab, descriptors?: number): Promise<void> {
  const limit = descriptors ?? Number((await mustRun(['sh', '-c', 'ulimit -Hn'])).trim());
  await mustRun(['prlimit', '--pid', String(lab.sshd.pid), `--nofile=${limit}`]);
}

async function flood(
  lab: Lab,
  connections: number,
  ms: number,
  [host, port]: readonly [string, number] = [API1, Port.echo],
): Promise<FloodReport> {
  // No process here may have all of them.
  const processes = Math.ceil(connections / FLOOD_OF_ONE);
  const each = Math.floor(connections / processes);
  const argv = ['sh', '-c', 'ulimit -n "$(ulimit -Hn)"; exec "$@"', 'sh', process.execPath, DIALER];
  const reports = await Promise.all(
    Array.from({ length: processes }, async () => {
      const { status, stdout, stderr } = await lab.client.exec(
        [...argv, 'flood', host, String(port), String(each), String(ms)],
        { timeout: ms + 60_000 },
      );
      assert.equal(status, 0, stderr);
      return JSON.parse(stdout) as FloodReport;
    }),
  );
  const refused: Record<string, number> = {};
  for (const report of reports)
    for (const [code, n] of Object.entries(report.refused))
      refused[code] = (refused[code] ?? 0) + n;
  const sum = (key: 'open' | 'reset' | 'pending'): number =>
    reports.reduce((all, one) => all + one[key], 0);
  return { open: sum('open'), reset: sum('reset'), refused, pending: sum('pending') };
}

const sumOf = (refused: FloodReport['refused']): number =>
  Object.values(refused).reduce((sum, n) => sum + n, 0);

describe('what runs out', { skip: labUnavailable('curl') }, () => {
  it(
    `${FLOOD} connections at once do not end the server, nor the link`,
    { timeout: 180_000 },
    (t) =>
      inLab({}, async (lab) => {
        await limitSshd(lab);
        await lab.client.configure([], ['net/ipv4/ip_local_port_range=1024 65535']);
        await withTunnel(lab, {}, [], async (tunnel) => {
          const holder = await holdOne(lab);
          const { open, reset, refused, pending } = await flood(lab, FLOOD, 30_000);
          const told = `${open} open, ${reset} of them reset, ${JSON.stringify(refused)}, ${pending} pending`;
          // The server's own backlog may be too short for all at once: those are reset.
          assert.equal(open + sumOf(refused) + pending, FLOOD, told);
          assert.ok(open - reset > MAX_CHANNELS / 8, told);
          assert.equal(count(tunnel.stderr, /link lost/g), 0, tunnel.stderr.slice(-2_000));
          assert.doesNotMatch(holder.stdout, /E[A-Z]+/);
          await holder.stop('SIGKILL');
          assert.equal((await connectOnce(lab)).outcome, 'open');
          measured(t, 'opens-16k', told);
        });
      }),
  );

  it('sshd without a free descriptor refuses, and what is open goes on', (t) =>
    inLab({}, async (lab) => {
      await limitSshd(lab, SSHD_DESCRIPTORS);
      await withTunnel(lab, {}, [], async (tunnel) => {
        const holder = await holdOne(lab);
        const { open, refused, pending } = await flood(lab, 200, 20_000);
        const told = `${open} open, ${JSON.stringify(refused)}, ${pending} pending`;
        assert.ok(
          open > 0 && sumOf(refused) > 0 && pending === 0,
          `${told}\n${tunnel.stderr.slice(-2_000)}`,
        );
        assert.equal(count(tunnel.stderr, /link lost/g), 0, tunnel.stderr.slice(-2_000));
        assert.doesNotMatch(holder.stdout, /E[A-Z]+/);
        await holder.stop('SIGKILL');
        assert.equal((await curl(lab)).status, 0);
        measured(t, 'descriptors-there', told);
      });
    }));

  it('a proxy without a free descriptor refuses, and what is open goes on', (t) =>
    inLab({}, async (lab) => {
      const argv = [
        'prlimit',
        '--nofile=100',
        process.execPath,
        MAIN,
        'proxy',
        '-vv',
        '-r',
        REMOTE,
      ];
      const tunnel = await lab.client.spawn([...argv, '--listen', '127.0.0.1:1080']);
      try {
        await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
        const curlBy = (seconds: number) =>
          lab.client.exec(
            [
              'curl',
              '-sS',
              '-m',
              String(seconds),
              '-x',
              'socks5h://127.0.0.1:1080',
              `http://${API1}/`,
            ],
            { timeout: (seconds + 5) * 1_000 },
          );
        assert.equal((await curlBy(10)).status, 0, tunnel.stderr);
        // Clients that connect and say nothing.
        const silent = flood(lab, 300, 5_000, ['127.0.0.1', 1080]);
        await sleep(2_000);
        assert.equal((await curlBy(10)).status, 0, tunnel.stderr.slice(-2_000));
        const { open, refused, pending } = await silent;
        assert.equal(open + sumOf(refused) + pending, 300);
        assert.equal((await curlBy(10)).status, 0, tunnel.stderr.slice(-2_000));
        assert.equal(tunnel.ended, undefined, tunnel.stderr.slice(-2_000));
        measured(t, 'descriptors-here', '300 silent clients, 100 descriptors: served afterwards');
      } finally {
        await tunnel.stop('SIGINT');
      }
    }));

  it('a full disk: known_hosts can’t be written, nor standard error', (t) =>
    inLab({}, async (lab) => {
      // A home of 16 KiB, which is full, without a known_hosts.
      const script = [
        'mount -t tmpfs -o size=16k,mode=700 tmpfs "$HOME/.ssh2"',
        'cp "$HOME"/.ssh/id_* "$HOME/.ssh2/" 2>/dev/null',
        'cat /dev/zero > "$HOME/.ssh2/filler" 2>/dev/null || true',
        'exec "$@"',
      ].join('\n');
      await lab.client.exec(['mkdir', `${lab.clientHome}/.ssh2`]);
      const known = `${lab.clientHome}/.ssh2/known_hosts`;
      const options = [
        ...['-o', `UserKnownHostsFile=${known}`],
        ...['-o', 'StrictHostKeyChecking=accept-new'],
      ];
      const tunnel = await lab.client.spawn([
        ...['unshare', '-m', 'sh', '-c', script, 'sh'],
        ...[process.execPath, MAIN, '-r', REMOTE, ...options, PRIVATE4],
      ]);
      try {
        await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
        assert.match(tunnel.stderr, /warning: .*known_hosts.*(ENOSPC|no space left)/i);
        assert.equal((await connectOnce(lab)).outcome, 'open');
      } finally {
        await tunnel.stop('SIGINT');
      }
      const silent = await lab.client.spawn([
        ...['sh', '-c', 'exec "$@" 2>/dev/full', 'sh'],
        ...[process.execPath, MAIN, '-vv', '-r', REMOTE, PRIVATE4],
      ]);
      try {
        for (let i = 0; i < 100 && (await connectOnce(lab)).outcome !== 'open'; i++)
          await sleep(100);
        assert.equal((await connectOnce(lab)).outcome, 'open');
        assert.equal(silent.ended, undefined);
      } finally {
        await silent.stop('SIGINT');
      }
      measured(t, 'disk-full', 'both went on');
    }));

  it('a target that is no longer permitted is refused at once after the next login, and said', (t) =>
    inLab({}, (lab) =>
      withTunnel(lab, {}, [], async (tunnel) => {
        assert.equal((await connectOnce(lab)).outcome, 'open');
        const holder = await holdOne(lab);
        await lab.sshd.restart({ permitOpen: [`${API2}:${Port.http}`] });
        await holder.waitForLine(/ECONNRESET\n/, SLACK_MS);
        await holder.stop('SIGKILL');
        await tunnel.waitForLine(/reconnected after/, 10_000);
        const { outcome, ms } = await connectOnce(lab);
        assert.equal(outcome, 'EHOSTUNREACH');
        assert.ok(ms < SLACK_MS, `${ms} ms`);
        const [other] = await dial<Attempt[]>(lab.client, 'connect', API2, Port.http);
        assert.equal(other?.outcome, 'open');
        assert.match(tunnel.stderr, /prohibit|permit/i);
        measured(t, 'permitopen-revoked', `refused after ${ms.toFixed(0)} ms`);
      }),
    ));
});
