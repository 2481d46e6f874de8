/**
 * Servers that answer no global request, and servers that stop answering: which links are given up
 * and when, with both transports. Each in its own lab, in parallel, because they mostly wait.
 * TUNNEL_LONG=1: with the program's own keepalive, and 5 minutes idle.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MAX_UNANSWERED_REQUESTS } from '../../src/ssh/answers.ts';
import { API1, JUMPHOST4, Port, PRIVATE4 } from '../support/addresses.ts';
import { pseudoRandomDigest } from '../support/bytes.ts';
import { JUMP_USER } from '../support/credentials.ts';
import { measured } from '../support/faults.ts';
import { Lab, type LabOptions, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { sessionsOf } from '../support/processtable.ts';
import { LONG, startTuned } from '../support/tuning.ts';
import { type Attempt, dial, startDialer } from '../support/tunnel.ts';

const SILENT_SERVER = fileURLToPath(new URL('../support/silentserver.js', import.meta.url));
const PORT = 2222;
const REMOTE = `${JUMP_USER}@${JUMPHOST4}:${PORT}`;
/** --keepalive, and how many of these intervals a silent link lasts. */
const KEEPALIVE = LONG ? 15 : 1;
const COUNT = 3;
/** How long a link is idle: more intervals than a silent server stands requests. */
const IDLE_MS = LONG ? 330_000 : 32_000;
/** When a silent server is given up; at least, whatever is told late (serverlife.ts). */
const SILENT_MS = Math.max(COUNT * KEEPALIVE, KEEPALIVE + 4) * 1_000;
/** The documented time after which a dead path is noticed, and what looking at TCP adds. */
const DEAD_MS = (COUNT + 1) * KEEPALIVE * 1_000 + (KEEPALIVE / 5) * 1_000;
/** A margin for a busy machine, and for ssh, which counts whole seconds. */
const SLACK_MS = 3_000;
const PROXY_COMMAND = ['-o', 'ProxyCommand=ncat %h %p'] as const;
/** Does not exec: what its ssh reads is seen by the guard alone (native/guard.c). */
const WRAPPER = ['-e', 'sh -c "ssh \\"$@\\"; exit $?" sh'] as const;
/** How ssh is run, and whether its TCP can be seen. */
const WAYS = [
  { name: 'ssh2', args: ['--transport', 'ssh2'], tcp: true },
  { name: 'openssh', args: ['--transport', 'openssh'], tcp: true },
  { name: 'ssh2, ProxyCommand', args: ['--transport', 'ssh2', ...PROXY_COMMAND], tcp: false },
  { name: 'openssh, ProxyCommand', args: ['--transport', 'openssh', ...PROXY_COMMAND], tcp: false },
  { name: 'openssh, -e', args: WRAPPER, tcp: true },
] as const;
const LARGE = 100_000_000;
/** The path's own time for it, at 50 ms, is some 5 s. */
const LARGE_MS = 30_000;

interface SilentLab {
  readonly lab: Lab;
  readonly server: Child;
}

async function withSilentServer(
  options: LabOptions & { readonly mode?: 'silent' | 'answering' },
  body: (silent: SilentLab) => Promise<void>,
): Promise<void> {
  const { mode = 'silent' } = options;
  const lab = await Lab.create(options);
  let server: Child | undefined;
  try {
    const authorizedKeys = join(lab.directory, 'silent-authorized-keys');
    writeFileSync(authorizedKeys, lab.credentials.authorizedKeys);
    server = await lab.jumphost.spawn(
      [
        ...[process.execPath, SILENT_SERVER, mode, String(PORT)],
        ...[authorizedKeys, ...lab.credentials.hostKeys],
      ],
      { stdin: 'open' },
    );
    await server.waitForLine(/ready \d+\n/);
    await body({ lab, server });
  } finally {
    await server?.stop('SIGKILL');
    await lab.close();
  }
}

async function withTunnel(
  lab: Lab,
  { remote, args }: { readonly remote: string; readonly args: readonly string[] },
  body: (tunnel: Child) => Promise<void>,
): Promise<void> {
  const tuning = { ...(LONG ? {} : { keepalive: KEEPALIVE }), reconnectHold: 20 };
  const tunnel = await startTuned(lab.client, tuning, ['-vv', ...args, PRIVATE4], remote);
  try {
    await body(tunnel);
  } finally {
    await tunnel.stop('SIGINT');
  }
}

async function outcome(lab: Lab): Promise<string | undefined> {
  const [attempt] = await dial<Attempt[]>(lab.client, 'connect', API1, Port.http);
  return attempt?.outcome;
}

/** The uplink silently drops what it would forward, in both directions, until this is called. */
async function blackHole(lab: Lab): Promise<() => Promise<void>> {
  const rules =
    'table inet hole { chain forward { type filter hook forward priority 0; policy drop; }; }';
  const { status, stderr } = await lab.uplink.exec(['nft', '-f', '-'], { input: rules });
  assert.equal(status, 0, stderr);
  return async () => {
    assert.equal((await lab.uplink.exec(['nft', 'delete', 'table', 'inet', 'hole'])).status, 0);
  };
}

function signal(server: Child, name: 'SIGSTOP' | 'SIGCONT'): void {
  process.kill(server.pid, name);
}

function stopSessions(lab: Lab): void {
  const sshd = lab.sshd.pid;
  assert.ok(sshd !== undefined);
  for (const pid of sessionsOf(sshd, JUMP_USER)) process.kill(pid, 'SIGSTOP');
}

async function requests(server: Child): Promise<number> {
  server.write('\n');
  const [, count] = await server.waitForLine(/requests (\d+)\n/);
  return Number(count);
}

const count = (text: string, pattern: RegExp): number => text.match(pattern)?.length ?? 0;

describe('servers that stop answering', { skip: labUnavailable('curl'), concurrency: 8 }, () => {
  for (const { name, args, tcp } of WAYS) {
    it(`a silent server keeps its idle link, and is told once (${name})`, () =>
      withSilentServer({}, ({ lab, server }) =>
        withTunnel(lab, { remote: REMOTE, args }, async (tunnel) => {
          const holder = await startDialer(lab.client, 'hold', API1, Port.echo, 1);
          await holder.waitForLine(/held 1\n/);
          await sleep(IDLE_MS);
          assert.equal(await outcome(lab), 'open', tunnel.stderr);
          assert.doesNotMatch(tunnel.stderr, /link lost/);
          const told = /does not answer keepalives, (so|nor)/g;
          assert.deepEqual(
            tunnel.stderr.match(told)?.map((text) => text.endsWith('so')),
            [tcp],
          );
          const asked = await requests(server);
          assert.ok(asked <= MAX_UNANSWERED_REQUESTS + 1, `${asked} requests`);
          assert.doesNotMatch(server.stdout, /frozen/);
          assert.doesNotMatch(holder.stdout, /ECONNRESET/);

          await lab.client.configure(['route add 203.0.113.0/24 via 192.0.2.1']);
          await tunnel.waitForLine(/probing the link: the network has changed/, 2_000 + SLACK_MS);
          await sleep(4_000);
          assert.doesNotMatch(tunnel.stderr, /link lost/);
          if (!tcp) return;

          const mend = await blackHole(lab);
          await tunnel.waitForLine(/link lost: .*\n/, DEAD_MS + SLACK_MS);
          await holder.stop('SIGKILL');
          await mend();
          await tunnel.waitForLine(/reconnected after/, 10_000);
          assert.equal(await outcome(lab), 'open');
          await sleep((COUNT + 2) * KEEPALIVE * 1_000);
          assert.equal(count(tunnel.stderr, /does not answer keepalives/g), 1);
          assert.equal(count(tunnel.stderr, /link lost/g), 1, tunnel.stderr);
        }),
      ));

    if (tcp)
      it(`a silent server whose path drops everything from the start loses its link (${name})`, () =>
        withSilentServer({}, ({ lab }) =>
          withTunnel(lab, { remote: REMOTE, args }, async (tunnel) => {
            await blackHole(lab);
            const begin = performance.now();
            await tunnel.waitForLine(/link lost: .*\n/, DEAD_MS + SLACK_MS);
            const ms = performance.now() - begin;
            assert.ok(ms > (COUNT - 1) * KEEPALIVE * 1_000, `${ms} ms`);
          }),
        ));
    else
      it(`where TCP can't be seen, a silent server outlives an outage (${name})`, () =>
        withSilentServer({}, ({ lab }) =>
          withTunnel(lab, { remote: REMOTE, args }, async (tunnel) => {
            // The probe at the start of the capture is over by then.
            await sleep(SLACK_MS);
            const mend = await blackHole(lab);
            await sleep((COUNT + 2) * KEEPALIVE * 1_000);
            await mend();
            // TCP tries again by itself, as long after the last time as the outage was.
            await sleep((COUNT + 2) * KEEPALIVE * 1_000);
            assert.equal(await outcome(lab), 'open', tunnel.stderr);
            assert.doesNotMatch(tunnel.stderr, /link lost/);
          }),
        ));

    it(`a server that answered and is stopped loses its link (${name})`, () =>
      withSilentServer({ mode: 'answering' }, ({ lab, server }) =>
        withTunnel(lab, { remote: REMOTE, args }, async (tunnel) => {
          // The system's ssh asks only when the link is idle, and what it reads is told late.
          await sleep((2 * KEEPALIVE + 6) * 1_000);
          signal(server, 'SIGSTOP');
          await tunnel.waitForLine(/link lost: .*\n/, SILENT_MS + SLACK_MS);
          assert.match(tunnel.stderr, /link lost: .*no longer answers keepalives/);
          signal(server, 'SIGCONT');
          await tunnel.waitForLine(/reconnected after/, 10_000);
          assert.equal(await outcome(lab), 'open');
          assert.doesNotMatch(tunnel.stderr, /does not answer keepalives/);
        }),
      ));

    it(`an sshd that is stopped loses its link, whether or not it has answered (${name})`, async (t) => {
      const lab = await Lab.create({ sshd: 'open' });
      try {
        await withTunnel(lab, { remote: `${JUMP_USER}@${JUMPHOST4}`, args }, async (tunnel) => {
          stopSessions(lab);
          const begin = performance.now();
          await tunnel.waitForLine(/link lost: .*\n/, SILENT_MS + SLACK_MS);
          // The probe at the start of the capture may be the first to find out.
          assert.match(
            tunnel.stderr,
            /link lost: .*(no longer answers keepalives|no answer within)/,
          );
          await tunnel.waitForLine(/reconnected after/, 10_000);
          const seconds = ((performance.now() - begin) / 1_000).toFixed(1);
          measured(t, 'sshd-frozen', `${name}: back after ${seconds} s`);
          assert.equal(await outcome(lab), 'open');
          assert.doesNotMatch(tunnel.stderr, /does not answer keepalives/);
        });
      } finally {
        await lab.close();
      }
    });
  }

  for (const { name, args } of WAYS.filter((way) => way.name.startsWith('openssh')))
    it(`uploads alone keep the link, and it is lost in the middle of one (${name})`, async () => {
      const lab = await Lab.create({ sshd: 'open', rtt: 20 });
      try {
        await withTunnel(lab, { remote: `${JUMP_USER}@${JUMPHOST4}`, args }, async (tunnel) => {
          const upload = (bytes: string, rate: string): string =>
            `head -c ${bytes} /dev/zero | curl -sS --limit-rate ${rate} -T - -X POST http://${API1}/sha256`;
          // Slow enough that sshd grants no window for it, and as fast as it goes.
          for (const [bytes, rate] of [
            ['8K', '1K'],
            ['20M', '4M'],
            ['50M', '1G'],
          ] as const) {
            const command = ['sh', '-c', upload(bytes, rate)];
            const { stdout } = await lab.client.exec(command, { timeout: 60_000 });
            assert.match(stdout, /sha256/, tunnel.stderr);
          }
          assert.doesNotMatch(tunnel.stderr, /link lost/);
          const uploading = await lab.client.spawn(['sh', '-c', upload('1G', '20M')]);
          await sleep(1_000);
          stopSessions(lab);
          // What ssh has read of the upload until then shows as life.
          await tunnel.waitForLine(/link lost: .*\n/, SILENT_MS + 2 * SLACK_MS);
          assert.match(tunnel.stderr, /link lost: .*no longer answers keepalives/);
          await uploading.stop('SIGKILL');
        });
      } finally {
        await lab.close();
      }
    });

  it('a download of 100 MB at 50 ms from a silent server is as fast as from another', () =>
    withSilentServer({ rtt: 50 }, ({ lab }) =>
      withTunnel(lab, { remote: REMOTE, args: [] }, async () => {
        for (let round = 0; round < 2; round++) {
          const begin = performance.now();
          const url = `http://${API1}/bytes/${LARGE}?seed=down`;
          const { stdout } = await lab.client.exec(['sh', '-c', `curl -sS '${url}' | sha256sum`], {
            timeout: 2 * LARGE_MS,
          });
          const ms = performance.now() - begin;
          assert.equal(stdout.split(' ')[0], pseudoRandomDigest(LARGE, 'down'));
          assert.ok(ms < LARGE_MS, `${ms} ms`);
        }
      }),
    ));
});
