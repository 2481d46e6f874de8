/**
 * Mixed load, with a fault every few seconds, and slow ends beside fast ones: memory, descriptors
 * and flows stay flat. TUNNEL_LONG=1: for half an hour instead of 40 s.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { API1, API2, Port } from '../support/addresses.ts';
import {
  blackHole,
  connectOnce,
  count,
  inLab,
  killSessions,
  withTunnel,
} from '../support/faultlab.ts';
import { measured } from '../support/faults.ts';
import { type Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import type { StormReport } from '../support/storm.ts';
import { SeededRandom } from '../support/tcprandom.ts';
import { LONG, startStorm } from '../support/tuning.ts';
import { startDialer } from '../support/tunnel.ts';

const SECONDS = LONG ? 1_800 : 40;
const MB = 1 << 20;
/** By how much a process's memory varies with the moment, in octets. */
const MEMORY = 48 * MB;
const SLOW = 20;

interface Footprint {
  readonly memory: number;
  readonly descriptors: number;
}

function footprint({ pid }: Child): Footprint {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    memory: Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1]) * 1024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}

const FAULTS: readonly ((lab: Lab) => Promise<void>)[] = [
  async (lab) => killSessions(lab),
  async (lab) => {
    await lab.sshd.kill();
    await lab.sshd.start();
  },
  async (lab) => {
    const mend = await blackHole(lab);
    await sleep(1_500);
    await mend();
  },
  (lab) =>
    lab.client.configure([
      'link set uplink down',
      'link set uplink up',
      'route replace default via 192.0.2.1 dev uplink',
    ]),
  (lab) =>
    lab.client.configure([
      'addr add 192.0.2.88/24 dev uplink',
      'addr del 192.0.2.88/24 dev uplink',
    ]),
];

describe('a long time', { skip: labUnavailable() }, () => {
  it(
    `${SECONDS} s of load and faults leave it as it was`,
    { timeout: (SECONDS + 120) * 1_000 },
    (t) =>
      inLab({}, (lab) =>
        withTunnel(lab, { keepalive: 1, reconnectHold: 10 }, [], async (tunnel) => {
          const random = new SeededRandom(1);
          const warm = await startStorm(lab.client, API1, 5, 8);
          await warm.wait(20_000);
          const before = footprint(tunnel);
          const storm = await startStorm(lab.client, API1, SECONDS, 8);
          const end = performance.now() + SECONDS * 1_000;
          let faults = 0;
          let most = before.memory;
          while (performance.now() < end - 8_000) {
            await sleep(2_000 + random.below(3_000));
            await FAULTS[random.below(FAULTS.length)]?.(lab);
            faults++;
            most = Math.max(most, footprint(tunnel).memory);
          }
          const { status } = await storm.wait(60_000);
          assert.equal(status, 0, storm.stderr);
          const { connects, bytes } = JSON.parse(storm.stdout) as StormReport;
          const { open = [] } = connects;
          assert.ok(open.length > SECONDS, `${open.length} connects`);
          assert.equal((await connectOnce(lab)).outcome, 'open', tunnel.stderr.slice(-2_000));
          await sleep(3_000);
          const after = footprint(tunnel);
          const grown = (after.memory - before.memory) / MB;
          const told = `${faults} faults, ${open.length} connects, ${(bytes / MB).toFixed(0)} MB, memory ${grown.toFixed(0)} MB, descriptors ${after.descriptors - before.descriptors}`;
          assert.ok(after.memory <= before.memory + MEMORY, told);
          assert.ok(after.descriptors <= before.descriptors + 2, told);
          measured(t, 'soak', told);
        }),
      ),
  );

  it('slow readers and writers hold up nobody', (t) =>
    inLab({}, (lab) =>
      withTunnel(lab, {}, [], async (tunnel) => {
        const before = footprint(tunnel);
        // Nobody reads what they get, and nobody takes what they send.
        const readers = await startDialer(lab.client, 'hold', API1, Port.flood, SLOW);
        await readers.waitForLine(new RegExp(`held ${SLOW}\\n`));
        const writers = await Promise.all(
          Array.from({ length: SLOW / 4 }, () =>
            startDialer(lab.client, 'fill-reset', API2, Port.stall),
          ),
        );
        const storm = await startStorm(lab.client, API1, 5, 8);
        const { status } = await storm.wait(30_000);
        assert.equal(status, 0, storm.stderr);
        const { connects, bytes } = JSON.parse(storm.stdout) as StormReport;
        assert.deepEqual(Object.keys(connects), ['open']);
        assert.ok(bytes > 5 * MB, `${bytes} bytes`);
        for (const writer of writers) await writer.wait(20_000);
        const grown = (footprint(tunnel).memory - before.memory) / MB;
        const told = `${(bytes / MB).toFixed(0)} MB beside ${SLOW} readers and ${SLOW / 4} writers, memory ${grown.toFixed(0)} MB`;
        // The windows of SLOW flows, 2 MiB each, and what a busy process has besides.
        assert.ok(grown * MB <= SLOW * 2 * MB + 2 * MEMORY, told);
        assert.equal(count(tunnel.stderr, /link lost/g), 0);
        await readers.stop('SIGKILL');
        measured(t, 'slow-ends', told);
      }),
    ));
});
