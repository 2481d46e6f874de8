/**
 * Faults of the network other than a path that is gone: flaps, a firewall that is switched on, a
 * machine that was asleep, a resolver that is dead. Each in its own lab, in parallel, because they
 * mostly wait.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { API2 } from '../support/addresses.ts';
import {
  connectOnce,
  count,
  curl,
  HEAL_MS,
  holdOne,
  inLab,
  killSessions,
  SLACK_MS,
  withTunnel,
} from '../support/faultlab.ts';
import { measured } from '../support/faults.ts';
import { labUnavailable } from '../support/lab.ts';
import { allProcesses, signalAll, withDescendants } from '../support/processtable.ts';
import { SeededRandom } from '../support/tcprandom.ts';
import { LONG } from '../support/tuning.ts';

const FLAPS = LONG ? 60 : 12;
const SLEEP_MS = LONG ? 120_000 : 6_000;
const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

describe('faults of the network', { skip: labUnavailable('curl'), concurrency: true }, () => {
  it(`the uplink flaps ${FLAPS} times: afterwards everything works within 5 s`, (t) =>
    inLab({}, (lab) =>
      withTunnel(lab, { keepalive: 1, reconnectHold: 20 }, [], async (tunnel) => {
        const random = new SeededRandom(7);
        const before = await lab.client.hostState();
        for (let i = 0; i < FLAPS; i++) {
          await lab.client.configure(['link set uplink down']);
          await sleep(100 + random.below(1_900));
          await lab.client.configure([
            'link set uplink up',
            'route replace default via 192.0.2.1 dev uplink',
          ]);
          await sleep(random.below(1_000));
        }
        const mended = performance.now();
        const { status, stderr } = await curl(lab, 20);
        const ms = performance.now() - mended;
        assert.equal(status, 0, `${stderr}\n${tunnel.stderr}`);
        assert.ok(ms < HEAL_MS, `${ms} ms\n${tunnel.stderr}`);
        assert.equal(tunnel.ended, undefined, tunnel.stderr);
        const lost = count(tunnel.stderr, /link lost/g);
        assert.ok(lost <= FLAPS, `${lost} losses`);
        // The capture has stayed, whatever else came and went with the device.
        assert.match(await lab.client.hostState(), /10\.77\.0\.0\/16 dev tun0/);
        assert.match(before, /10\.77\.0\.0\/16 dev tun0/);
        measured(t, 'flaps', `${FLAPS} flaps, ${lost} losses, back after ${seconds(ms)}`);
      }),
    ));

  it('a firewall that drops what comes in is switched on: nothing changes', (t) =>
    inLab({}, (lab) =>
      withTunnel(lab, { keepalive: 1 }, [], async (tunnel) => {
        const holder = await holdOne(lab);
        const rules =
          'table inet wall { chain input { type filter hook input priority 0; policy drop; ct state established,related accept; iifname lo accept; }; }';
        const { status, stderr } = await lab.client.exec(['nft', '-f', '-'], { input: rules });
        assert.equal(status, 0, stderr);
        assert.equal((await connectOnce(lab)).outcome, 'open');
        await sleep(4_000);
        assert.equal(count(tunnel.stderr, /link lost/g), 0);
        assert.doesNotMatch(holder.stdout, /E[A-Z]+/);
        assert.equal((await curl(lab)).status, 0);
        await holder.stop('SIGKILL');
        measured(t, 'firewall', 'incoming packets dropped: no loss');
      }),
    ));

  for (const verdict of ['drop', 'reject'] as const)
    it(`a firewall that ${verdict}s what goes out is switched on, and off again`, (t) =>
      inLab({}, (lab) =>
        withTunnel(lab, { keepalive: 1, reconnectHold: 20 }, [], async (tunnel) => {
          const holder = await holdOne(lab);
          const rules = `table inet wall { chain output { type filter hook output priority 0; oifname "uplink" ${verdict}; }; }`;
          assert.equal((await lab.client.exec(['nft', '-f', '-'], { input: rules })).status, 0);
          await tunnel.waitForLine(/link lost: .*\n/, 6_000 + SLACK_MS);
          await holder.waitForLine(/ECONNRESET\n/, SLACK_MS);
          await holder.stop('SIGKILL');
          const held = curl(lab, 20);
          await sleep(3_000);
          const off = await lab.client.exec(['nft', 'delete', 'table', 'inet', 'wall']);
          assert.equal(off.status, 0, off.stderr);
          const mended = performance.now();
          assert.equal((await held).status, 0, tunnel.stderr);
          const ms = performance.now() - mended;
          assert.ok(ms < HEAL_MS, `${ms} ms\n${tunnel.stderr}`);
          measured(t, 'firewall', `outgoing packets, ${verdict}: back after ${seconds(ms)}`);
        }),
      ));

  it(`a machine that was asleep for ${seconds(SLEEP_MS)} is back within 5 s`, (t) =>
    inLab({}, (lab) =>
      withTunnel(lab, {}, [], async (tunnel) => {
        const holder = await holdOne(lab);
        const all = withDescendants([tunnel.pid, holder.pid], allProcesses());
        signalAll(all, 'SIGSTOP');
        // Meanwhile the server gives the connection up, and its answer doesn't arrive.
        const hole =
          'table inet hole { chain forward { type filter hook forward priority 0; policy drop; }; }';
        assert.equal((await lab.uplink.exec(['nft', '-f', '-'], { input: hole })).status, 0);
        killSessions(lab);
        await sleep(SLEEP_MS);
        await lab.uplink.exec(['nft', 'delete', 'table', 'inet', 'hole']);
        const woken = performance.now();
        signalAll(all, 'SIGCONT');
        const { status, stderr } = await curl(lab, 30);
        const ms = performance.now() - woken;
        assert.equal(status, 0, `${stderr}\n${tunnel.stderr}`);
        assert.ok(ms < HEAL_MS, `${ms} ms\n${tunnel.stderr}`);
        await holder.waitForLine(/ECONNRESET\n/, HEAL_MS);
        await holder.stop('SIGKILL');
        measured(t, 'suspend', `back after ${seconds(ms)}`);
      }),
    ));

  it('the resolver behind the jump host is dead: names fail in time, the rest goes on', (t) =>
    inLab({}, (lab) => {
      // Nothing listens at api2's port 53, then nothing answers there at all.
      const names = ['--dns-server', API2, '--domain', 'corp.example', '--keepalive', '2'];
      return withTunnel(lab, {}, names, async (tunnel) => {
        const lookUp = async (name: string) => {
          const begin = performance.now();
          const { status } = await lab.client.exec(['getent', 'ahosts', name], {
            timeout: 40_000,
          });
          return { status, ms: performance.now() - begin };
        };
        const refused = await lookUp('one.corp.example');
        assert.equal(refused.status, 2);
        assert.ok(refused.ms < HEAL_MS, `${refused.ms} ms\n${tunnel.stderr}`);
        const drop =
          'table inet dead { chain input { type filter hook input priority 0; tcp dport 53 drop; udp dport 53 drop; }; }';
        assert.equal((await lab.api2.exec(['nft', '-f', '-'], { input: drop })).status, 0);
        const silent = await lookUp('two.corp.example');
        assert.equal(silent.status, 2);
        assert.ok(silent.ms < 31_000, `${silent.ms} ms\n${tunnel.stderr}`);
        assert.equal((await connectOnce(lab)).outcome, 'open');
        assert.equal(count(tunnel.stderr, /link lost/g), 0);
        measured(
          t,
          'resolver-dead',
          `refused: ${seconds(refused.ms)}, silent: ${seconds(silent.ms)}`,
        );
      });
    }));
});
