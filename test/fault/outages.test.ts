/**
 * How long connections wait in outages that are over soon: sessions that are killed again and
 * again, a restart of sshd, and a balancer whose server is gone. TUNNEL_LONG=1: ten times.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { API1, JUMPHOST4, Port, PRIVATE4 } from '../support/addresses.ts';
import { JUMP_USER } from '../support/credentials.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { sessionsOf } from '../support/processtable.ts';
import { LONG, startTuned } from '../support/tuning.ts';
import { type Attempt, dial } from '../support/tunnel.ts';

const OUTAGES = LONG ? 50 : 3;
/** Sessions of an outage that are killed soon after they work. */
const KILLS = 4;
const GONE_MS = 3_000;
/** The longest that a connection may take in all this. */
const PATIENCE_MS = 4_000;
/** For the dialler of the test to start, on a busy machine. */
const SLACK_MS = 2_000;
const CONNECTS = 3;

async function connectOnce(lab: Lab): Promise<Attempt> {
  const [attempt] = await dial<Attempt[]>(lab.client, 'connect', API1, Port.http);
  assert.ok(attempt !== undefined);
  return attempt;
}

/** Several connects that begin one after the other. */
function connects(lab: Lab): Promise<Attempt[]> {
  return Promise.all(
    Array.from({ length: CONNECTS }, async (_, i) => {
      await sleep(i * 300);
      return connectOnce(lab);
    }),
  );
}

/** Ends the sessions of users who are logged in. */
function killSessions(lab: Lab): void {
  const sshd = lab.sshd.pid;
  assert.ok(sshd !== undefined);
  for (const pid of sessionsOf(sshd, JUMP_USER)) process.kill(pid, 'SIGKILL');
}

describe('outages that are over soon', {
  skip: labUnavailable('haproxy'),
  timeout: 1_200_000,
}, () => {
  let lab: Lab;
  let tunnel: Child | undefined;
  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
  });
  after(async () => {
    await tunnel?.stop('SIGINT');
    await lab?.close();
  });

  it('no connection fails, and none takes longer than 4 s', async () => {
    tunnel = await startTuned(lab.client, {}, [PRIVATE4]);
    const attempts: Attempt[] = [];
    for (let outage = 0; outage < OUTAGES; outage++) {
      for (let kill = 0; kill < KILLS; kill++) {
        await sleep(1_000 + (kill % 2) * 1_000);
        killSessions(lab);
        attempts.push(...(await connects(lab)));
      }
      await sleep(1_500);
      await lab.sshd.kill();
      const waiting = connects(lab);
      await sleep(GONE_MS);
      await lab.sshd.start();
      attempts.push(...(await waiting));
    }
    const times = attempts.map(({ ms }) => Math.round(ms));
    assert.deepEqual([...new Set(attempts.map(({ outcome }) => outcome))], ['open'], tunnel.stderr);
    assert.ok(Math.max(...times) <= PATIENCE_MS, `${times.join(' ')}\n${tunnel.stderr}`);
    await tunnel.stop('SIGINT');
  });

  it('a balancer whose server is gone: the link is back within 3 s of its return', async () => {
    const configuration = `
defaults
  mode tcp
  timeout connect 1s
  timeout client 1h
  timeout server 1h
listen ssh
  bind *:2222
  retries 0
  server only ${JUMPHOST4}:22
`;
    const file = join(lab.directory, 'haproxy.cfg');
    writeFileSync(file, configuration);
    const haproxy = await lab.jumphost.spawn(['haproxy', '-q', '-db', '-f', file]);
    try {
      const listening = async () =>
        (await lab.jumphost.exec(['ss', '-ltn'])).stdout.includes(':2222 ');
      while (!(await listening())) {
        assert.equal(haproxy.ended, undefined, haproxy.stderr);
        await sleep(50);
      }
      tunnel = await startTuned(lab.client, {}, [PRIVATE4], `${JUMP_USER}@${JUMPHOST4}:2222`);
      await lab.sshd.kill();
      const waiting = connects(lab);
      await tunnel.waitForLine(/closed the connection before it said anything/, 10_000);
      await sleep(8_000);
      await lab.sshd.start();
      const back = performance.now();
      for (const { outcome } of await waiting) assert.equal(outcome, 'open', tunnel.stderr);
      const ms = performance.now() - back;
      assert.ok(ms <= 3_000 + SLACK_MS, `${ms} ms\n${tunnel.stderr}`);
    } finally {
      await tunnel?.stop('SIGINT');
      await haproxy.stop('SIGKILL');
    }
  });
});
