/**
 * A jump host whose sshd dies again and again, under load. TUNNEL_LONG=1: for 2 minutes instead of
 * 30 s.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { API1, PRIVATE4 } from '../support/addresses.ts';
import { measured } from '../support/faults.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import type { StormReport } from '../support/storm.ts';
import { LONG, startStorm, startTuned } from '../support/tuning.ts';

const SECONDS = LONG ? 120 : 30;
const KILL_EVERY_MS = 5_000;
const HOLD = 6;
const WORKERS = 8;
/** A margin for timers on a busy machine, and for the answer's way back. */
const SLACK_MS = 1_500;

describe(`sshd killed every 5 s for ${SECONDS} s under load`, {
  skip: labUnavailable('tcpdump'),
}, () => {
  let lab: Lab;
  let tunnel: Child;
  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
    tunnel = await startTuned(lab.client, { reconnectHold: HOLD }, [PRIVATE4]);
  });
  after(async () => {
    await tunnel?.stop('SIGINT');
    await lab?.close();
  });

  it('no captured packet on the uplink; each connect succeeds or is refused after the hold, none hangs', async (t) => {
    const uplink = await lab.uplink.capture('any', 'net 10.77.0.0/16 or net 198.18.0.0/15');
    const storm = await startStorm(lab.client, API1, SECONDS, WORKERS);
    const end = performance.now() + SECONDS * 1_000;
    let kills = 0;
    for (; performance.now() + KILL_EVERY_MS < end; kills++) {
      await sleep(KILL_EVERY_MS);
      await lab.sshd.kill();
      await lab.sshd.start();
    }
    // A connect that begins at the last moment may wait for the whole hold.
    const { status } = await storm.wait(end - performance.now() + HOLD * 1_000 + 5 * SLACK_MS);
    assert.equal(status, 0, storm.stderr);
    const { connects, resets, bytes } = JSON.parse(storm.stdout) as StormReport;

    const { open = [], ECONNREFUSED: refused = [], ECONNRESET: cut = [], ...others } = connects;
    assert.deepEqual(others, {}, 'connects end in no other way');
    // They had connected, and a kill came before their program noticed.
    assert.ok(cut.length <= kills, `${cut.length} connects were reset`);
    assert.ok(open.length >= 20 * kills, `only ${open.length} connects in ${SECONDS} s`);
    assert.ok(
      Math.max(...open) <= HOLD * 1_000 + SLACK_MS,
      `a connect took ${Math.max(...open)} ms`,
    );
    assert.ok(
      refused.every((ms) => ms >= HOLD * 1_000 - SLACK_MS && ms <= HOLD * 1_000 + SLACK_MS),
      `refused after ${refused} ms`,
    );
    // The endless flows are on the link at each kill, unless a kill found no link.
    assert.ok(resets >= kills, `${resets} resets`);
    assert.ok(bytes > 1 << 20);
    const reconnects = tunnel.stderr.match(/tunnel: reconnected after/g)?.length ?? 0;
    // A dial that a kill cuts off during the key exchange counts as a limit of sshd, with a longer
    // wait (link/backoff.ts).
    const waitedOut = tunnel.stderr.includes('closed the connection during');
    assert.ok(reconnects >= (waitedOut ? 1 : kills / 2), tunnel.stderr);
    assert.deepEqual(await uplink.stop(), []);
    assert.equal(tunnel.ended, undefined, tunnel.stderr);
    const slowest = (Math.max(...open) / 1_000).toFixed(1);
    measured(t, 'sshd-killed', `${kills} kills, ${open.length} connects, the slowest ${slowest} s`);
  });
});
