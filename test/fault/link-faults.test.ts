/**
 * Faults of a link other than a server that dies: each in its own lab, in parallel, because they
 * mostly wait. TUNNEL_LONG=1: with the program's own keepalive, and outages as long as that needs.
 */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PRIVATE4 } from '../support/addresses.ts';
import { JUMP_USER } from '../support/credentials.ts';
import {
  blackHole,
  connectOnce,
  count,
  curl,
  HEAL_MS,
  holdOne,
  inLab,
  killSessions,
  SLACK_MS,
  sshClients,
  withTunnel,
} from '../support/faultlab.ts';
import { measured } from '../support/faults.ts';
import { labUnavailable } from '../support/lab.ts';
import { mustRun } from '../support/process.ts';
import { LONG, startTuned } from '../support/tuning.ts';
import { startTunnel } from '../support/tunnel.ts';

const KEEPALIVE = LONG ? {} : { keepalive: 1 };
/** How long it takes to notice a silent link. */
const NOTICE_MS = LONG ? 45_000 : 3_000;
const OUTAGE_MS = LONG ? 90_000 : 14_000;

describe('link faults', { skip: labUnavailable('curl'), concurrency: true }, () => {
  it('a black hole is noticed, and the link is back within 5 s of its end', (t) =>
    inLab({}, (lab) =>
      withTunnel(
        lab,
        { ...KEEPALIVE, reconnectHold: OUTAGE_MS / 1_000 + 20 },
        [],
        async (tunnel) => {
          const holder = await holdOne(lab);
          const mend = await blackHole(lab);
          const begin = performance.now();
          await tunnel.waitForLine(/link lost: .*\n/, NOTICE_MS + SLACK_MS);
          // The open flow is reset now, not later.
          await holder.waitForLine(/ECONNRESET\n/, SLACK_MS);
          await holder.stop('SIGKILL');
          const held = curl(lab, OUTAGE_MS / 1_000 + 20);
          await sleep(begin + OUTAGE_MS - performance.now());
          assert.equal(count(tunnel.stderr, /reconnected/g), 0);
          await mend();
          const mended = performance.now();
          const { status, stderr } = await held;
          const ms = performance.now() - mended;
          assert.equal(status, 0, `${stderr}\n${tunnel.stderr}`);
          assert.ok(ms < HEAL_MS, `healed after ${ms} ms\n${tunnel.stderr}`);
          measured(t, 'black-hole', `back ${(ms / 1_000).toFixed(1)} s after its end`);
        },
      ),
    ));

  it('new connections are refused when the hold is over, and not sent past the tunnel', () =>
    inLab({}, (lab) =>
      withTunnel(lab, { reconnectHold: 2 }, [], async (tunnel) => {
        const captured = await lab.uplink.capture('any', 'net 10.77.0.0/16');
        await lab.sshd.kill();
        const { outcome, ms } = await connectOnce(lab);
        assert.equal(outcome, 'ECONNREFUSED');
        assert.ok(ms > 1_800 && ms < 2_000 + SLACK_MS, `refused after ${ms} ms`);
        await lab.sshd.start();
        await tunnel.waitForLine(/reconnected after/, 15_000);
        assert.equal((await curl(lab)).status, 0);
        assert.deepEqual(await captured.stop(), []);
      }),
    ));

  it('a new address of the client is noticed, and the link is back within seconds', (t) =>
    inLab({}, (lab) =>
      withTunnel(lab, {}, [], async (tunnel) => {
        const holder = await holdOne(lab);
        const begin = performance.now();
        await lab.client.configure([
          'addr del 192.0.2.2/24 dev uplink',
          'addr add 192.0.2.77/24 dev uplink',
          'route add default via 192.0.2.1',
        ]);
        await tunnel.waitForLine(
          /link lost: no answer within 3 s \(the network has changed\)/,
          4_250 + SLACK_MS,
        );
        await holder.waitForLine(/ECONNRESET\n/, SLACK_MS);
        await holder.stop('SIGKILL');
        await tunnel.waitForLine(/reconnected after/, 1_000 + SLACK_MS);
        const seconds = (performance.now() - begin) / 1_000;
        assert.equal((await connectOnce(lab)).outcome, 'open');
        measured(t, 'address-change', `back after ${seconds.toFixed(1)} s`);
      }),
    ));

  it('changes of the network that the link survives cost nothing', () =>
    inLab({}, (lab) =>
      withTunnel(lab, {}, [], async (tunnel) => {
        const holder = await holdOne(lab);
        await lab.client.configure([
          'route add 203.0.113.0/24 via 192.0.2.1',
          'addr add 192.0.2.88/24 dev uplink',
        ]);
        await sleep(5_000);
        assert.equal(count(tunnel.stderr, /link lost/g), 0);
        assert.match(tunnel.stderr, /probing the link: the network has changed/);
        assert.doesNotMatch(holder.stdout, /ECONNRESET/);
        await holder.stop('SIGKILL');
      }),
    ));

  it("through the system's ssh: probed, lost and restored in the same way, with one ssh at a time", () =>
    inLab({}, (lab) =>
      withTunnel(lab, {}, ['--transport', 'openssh'], async (tunnel) => {
        const [first, ...others] = sshClients(tunnel);
        assert.ok(first !== undefined && others.length === 0);
        const holder = await holdOne(lab);
        await lab.client.configure(['route add 203.0.113.0/24 via 192.0.2.1']);
        await tunnel.waitForLine(/probing the link: the network has changed/, 2_000 + SLACK_MS);
        assert.deepEqual(sshClients(tunnel), [first]);
        const mend = await blackHole(lab);
        await lab.client.configure(['route del 203.0.113.0/24 via 192.0.2.1']);
        await tunnel.waitForLine(/link lost: no answer within 3 s/, 4_250 + SLACK_MS);
        await holder.waitForLine(/ECONNRESET\n/, SLACK_MS);
        await holder.stop('SIGKILL');
        await mend();
        await tunnel.waitForLine(/reconnected after/, HEAL_MS + SLACK_MS);
        assert.equal((await connectOnce(lab)).outcome, 'open');
        const [second, ...more] = sshClients(tunnel);
        assert.ok(second !== undefined && second !== first && more.length === 0);
      }),
    ));

  it('a jump host with another key ends the program with 4, and gets no authentication byte', (t) =>
    inLab({}, async (lab) => {
      const tunnel = await startTunnel(lab.client, [PRIVATE4]);
      const holder = await holdOne(lab);
      await lab.sshd.kill();
      for (const key of lab.credentials.hostKeys) {
        const type = key.slice(key.lastIndexOf('_') + 1);
        for (const file of [key, `${key}.pub`]) rmSync(file);
        await mustRun(['ssh-keygen', '-q', '-t', type, '-N', '', '-f', key]);
      }
      const before = lab.sshd.log().length;
      await lab.sshd.restart({ logLevel: 'DEBUG3' });
      const { status } = await tunnel.wait(10_000);
      assert.equal(status, 4, tunnel.stderr);
      assert.match(tunnel.stderr, /error \[host-key-changed\]/);
      await holder.waitForLine(/ECONNRESET\n/, SLACK_MS);
      await holder.stop('SIGKILL');
      const log = lab.sshd.log().slice(before);
      assert.match(log, /Connection from 192\.0\.2\.2/);
      assert.match(log, /expecting SSH2_MSG_KEX_ECDH_INIT|SSH2_MSG_NEWKEYS sent/);
      // Neither the user's name nor the service request is sent before the host key is accepted.
      assert.doesNotMatch(log, /userauth-request|ssh-userauth|service-request|Failed|Accepted/);
      measured(t, 'sshd-replaced', 'ended with 4');
    }));

  it('MaxStartups 2:100:2 with all its places taken does not lock the user out', () =>
    inLab({ sshd: { config: ['MaxStartups 2:100:2'] } }, (lab) =>
      withTunnel(lab, {}, [], async (tunnel) => {
        const strangers = await Promise.all(
          [1, 2].map(() => lab.uplink.spawn(['ncat', '198.51.100.10', '22'], { stdin: 'open' })),
        );
        for (const stranger of strangers) await stranger.waitForLine(/SSH-2\.0/);
        const before = lab.sshd.log().length;
        const holder = await holdOne(lab);
        killSessions(lab);
        await holder.stop('SIGKILL');
        await tunnel.waitForLine(/tunnel: .*; trying again in (1[5-9]|2[0-9]|30)\.\d s/, 5_000);
        await Promise.all(strangers.map((stranger) => stranger.stop('SIGKILL')));
        await tunnel.waitForLine(/reconnected after/, 30_000 + SLACK_MS);
        const log = lab.sshd.log().slice(before);
        assert.ok(count(log, /drop connection .* from \[192\.0\.2\.2\]/g) <= 2, log);
        assert.equal((await connectOnce(lab)).outcome, 'open');
      }),
    ));

  it('a key that was revoked is offered once, and not again for minutes', () =>
    inLab({}, (lab) =>
      withTunnel(lab, { reconnectHold: 1 }, [], async (tunnel) => {
        const authorized = join(
          lab.directory,
          'jumphost',
          'home',
          JUMP_USER,
          '.ssh',
          'authorized_keys',
        );
        writeFileSync(authorized, '');
        const holder = await holdOne(lab);
        const before = lab.sshd.log().length;
        await lab.sshd.dropConnections();
        await holder.stop('SIGKILL');
        await tunnel.waitForLine(
          /does not let "jump" in: .*; the login is tried again only in [67] min/,
          5_000,
        );
        // Network events, which come in numbers during a change, are no reason either.
        for (let i = 0; i < 5; i++) {
          await lab.client.configure([`route add 203.0.113.${i}/32 via 192.0.2.1`]);
          assert.equal((await connectOnce(lab)).outcome, 'ECONNREFUSED');
        }
        const log = lab.sshd.log().slice(before);
        assert.equal(count(log, /Connection from 192\.0\.2\.2/g), 1, log);
        assert.equal(count(log, /Failed publickey/g), 1, log);
      }),
    ));

  it('a connection that the server closes as unused is dialled again when it is needed', () =>
    inLab({ sshd: { config: ['UnusedConnectionTimeout 2'] } }, (lab) =>
      withTunnel(lab, {}, [], async (tunnel) => {
        await lab.sshd.waitForLog(/terminating inactive connection/, 10_000);
        await tunnel.waitForLine(/which nobody used; it is dialled again when needed/, 2_000);
        await sleep(2_000);
        assert.equal(count(lab.sshd.log(), /Accepted publickey/g), 1);
        const { outcome, ms } = await connectOnce(lab);
        assert.equal(outcome, 'open');
        assert.ok(ms < SLACK_MS, `${ms} ms`);
        assert.equal(count(lab.sshd.log(), /Accepted publickey/g), 2);
        assert.doesNotMatch(tunnel.stderr, /link lost/);
      }),
    ));

  it('a name with a new address: the address is excluded from the capture before it is dialled', () =>
    inLab({}, async (lab) => {
      const [before, after] = ['198.51.100.10', '198.51.100.20'];
      await lab.jumphost.configure([`addr add ${after}/24 dev uplink`]);
      const hosts = join(lab.directory, 'client-hosts');
      writeFileSync(hosts, `${before} gate.lab.example\n`);
      const key = lab.credentials.hostKeys[0] ?? '';
      const pin = (await mustRun(['ssh-keygen', '-lf', `${key}.pub`])).split(' ')[1] ?? '';
      const tunnel = await startTuned(
        lab.client,
        {},
        ['--host-key', pin, PRIVATE4, '198.51.100.0/24'],
        `${JUMP_USER}@gate.lab.example`,
        ['sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', hosts],
      );
      const route = async (address: string) =>
        (await lab.client.exec(['ip', 'route', 'get', address])).stdout;
      try {
        assert.doesNotMatch(await route(before), /dev tun/);
        assert.match(await route(after), /dev tun/);
        const holder = await holdOne(lab);
        writeFileSync(hosts, `${after} gate.lab.example\n`);
        await lab.sshd.dropConnections();
        await holder.stop('SIGKILL');
        await tunnel.waitForLine(/reconnected after/, 5_000);
        assert.doesNotMatch(await route(after), /dev tun/);
        assert.match(await route(before), /dev tun/);
        assert.equal((await connectOnce(lab)).outcome, 'open');
      } finally {
        await tunnel.stop('SIGINT');
      }
    }));
});
