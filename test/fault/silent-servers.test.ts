/**
 * Servers that answer no global request, and a real sshd that stops answering: which links are
 * given up and when, with both transports. Each in its own lab, in parallel, because they mostly
 * wait.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MAX_UNANSWERED_REQUESTS } from '../../src/ssh/answers.ts';
import { API1, JUMPHOST4, Port, PRIVATE4 } from '../support/addresses.ts';
import { pseudoRandomDigest } from '../support/bytes.ts';
import { JUMP_USER } from '../support/credentials.ts';
import { Lab, type LabOptions, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { allProcesses, withDescendants } from '../support/processtable.ts';
import { startTuned } from '../support/tuning.ts';
import { type Attempt, dial, startDialer } from '../support/tunnel.ts';

const SILENT_SERVER = fileURLToPath(new URL('../support/silentserver.js', import.meta.url));
const PORT = 2222;
const REMOTE = `${JUMP_USER}@${JUMPHOST4}:${PORT}`;
const TRANSPORTS = ['ssh2', 'openssh'] as const;
/** --keepalive, and how many of these intervals a silent link lasts. */
const KEEPALIVE = 1;
const COUNT = 3;
/** A margin for a busy machine, and for ssh, which counts whole seconds. */
const SLACK_MS = 3_000;
const LARGE = 100_000_000;
/** The path's own time for it, at 50 ms, is some 5 s. */
const LARGE_MS = 30_000;

interface SilentLab {
  readonly lab: Lab;
  readonly server: Child;
}

async function withSilentServer(
  options: LabOptions,
  body: (silent: SilentLab) => Promise<void>,
): Promise<void> {
  const lab = await Lab.create(options);
  let server: Child | undefined;
  try {
    const authorizedKeys = join(lab.directory, 'silent-authorized-keys');
    writeFileSync(authorizedKeys, lab.credentials.authorizedKeys);
    server = await lab.jumphost.spawn(
      [process.execPath, SILENT_SERVER, String(PORT), authorizedKeys, ...lab.credentials.hostKeys],
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
  const tuning = { keepalive: KEEPALIVE, reconnectHold: 20 };
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

function stopSessions(lab: Lab): void {
  const sshd = lab.sshd.pid;
  assert.ok(sshd !== undefined);
  for (const pid of withDescendants([sshd], allProcesses())) {
    if (readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith(`sshd: ${JUMP_USER}`))
      process.kill(pid, 'SIGSTOP');
  }
}

async function requests(server: Child): Promise<number> {
  server.write('\n');
  const [, count] = await server.waitForLine(/requests (\d+)\n/);
  return Number(count);
}

const count = (text: string, pattern: RegExp): number => text.match(pattern)?.length ?? 0;

describe('servers that stop answering', { skip: labUnavailable('curl'), concurrency: true }, () => {
  for (const transport of TRANSPORTS) {
    const args = ['--transport', transport];

    it(`a silent server keeps its link for 32 intervals, and loses it with the path (${transport})`, () =>
      withSilentServer({}, ({ lab, server }) =>
        withTunnel(lab, { remote: REMOTE, args }, async (tunnel) => {
          const holder = await startDialer(lab.client, 'hold', API1, Port.echo, 1);
          await holder.waitForLine(/held 1\n/);
          await sleep(32 * KEEPALIVE * 1_000);
          assert.equal(await outcome(lab), 'open', tunnel.stderr);
          assert.doesNotMatch(tunnel.stderr, /link lost/);
          assert.equal(count(tunnel.stderr, /does not answer keepalives, so the link is kept/g), 1);
          const asked = await requests(server);
          // ssh asks by itself, and is only kept from it a little later.
          const most = MAX_UNANSWERED_REQUESTS + (transport === 'openssh' ? 3 : 0);
          assert.ok(asked <= most, `${asked} requests`);
          assert.doesNotMatch(server.stdout, /frozen/);
          assert.doesNotMatch(holder.stdout, /ECONNRESET/);

          await lab.client.configure(['route add 203.0.113.0/24 via 192.0.2.1']);
          await tunnel.waitForLine(/probing the link: the network has changed/, 2_000 + SLACK_MS);
          await sleep(4_000);
          assert.doesNotMatch(tunnel.stderr, /link lost/);

          const mend = await blackHole(lab);
          await tunnel.waitForLine(/link lost: .*\n/, (COUNT + 1) * KEEPALIVE * 1_000 + SLACK_MS);
          await holder.stop('SIGKILL');
          await mend();
          await tunnel.waitForLine(/reconnected after/, 10_000);
          assert.equal(await outcome(lab), 'open');
          await sleep((COUNT + 2) * KEEPALIVE * 1_000);
          assert.equal(count(tunnel.stderr, /does not answer keepalives/g), 1);
          assert.equal(count(tunnel.stderr, /link lost/g), 1, tunnel.stderr);
        }),
      ));

    it(`a silent server whose path drops everything from the start loses its link (${transport})`, () =>
      withSilentServer({}, ({ lab }) =>
        withTunnel(lab, { remote: REMOTE, args }, async (tunnel) => {
          await blackHole(lab);
          await tunnel.waitForLine(/link lost: .*\n/, (COUNT + 1) * KEEPALIVE * 1_000 + SLACK_MS);
        }),
      ));

    it(`an sshd that answered and is stopped loses its link as ever (${transport})`, async () => {
      const lab = await Lab.create({ sshd: 'open' });
      try {
        await withTunnel(lab, { remote: `${JUMP_USER}@${JUMPHOST4}`, args }, async (tunnel) => {
          // It has answered.
          await sleep(3_500);
          stopSessions(lab);
          await tunnel.waitForLine(
            /link lost: .*no longer answers keepalives.*\n/,
            COUNT * KEEPALIVE * 1_000 + SLACK_MS,
          );
          await tunnel.waitForLine(/reconnected after/, 10_000);
          assert.equal(await outcome(lab), 'open');
          assert.doesNotMatch(tunnel.stderr, /does not answer keepalives/);
        });
      } finally {
        await lab.close();
      }
    });
  }

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
