/**
 * PrimeHub's SSH bastion: sshd behind the TCP proxy of an ingress, at port 2222. Its PermitOpen
 * lists a port, and a network policy drops what is no notebook with its SSH server on
 * (docs/jump-hosts.md). A real sshd and haproxy; the notebook is api1.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { OPEN_PATIENCE_MS } from '../../src/doctor/forwarding.ts';
import { LEAST_WAIT_AUTH } from '../../src/ssh/options.ts';
import { API1, API2, BLACKHOLE4, JUMPHOST4, Port, PRIVATE4 } from '../support/addresses.ts';
import { JUMP_USER } from '../support/credentials.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import {
  assertForwardsOnly,
  assertReached,
  CHANNELS_LOGGED,
  doctor,
  fetchBy,
  proxied,
  start,
  startHaproxy,
  WAYS,
} from '../support/systems.ts';

const PORT = 2222;
const SSHD_PORT = 22022;
const ARGS = ['-r', `${JUMP_USER}@${JUMPHOST4}`, '-p', String(PORT)];
/** Seconds until the kernel of the bastion gives up a connection: a retry, as the test has it. */
const BASTION_GIVES_UP = 3;
const TUNNEL_FAILED = 125;
/** Later than the first login, earlier than the second. */
const LEARNS_AFTER_MS = 8_000;
/** What a busy machine adds. */
const SLACK_MS = 3_000;
/** curl gives up earlier, as applications do. Seconds. */
const IMPATIENT = 5;
/** curl's status when it has waited long enough. */
const CURL_TIMEOUT = 28;

describe("PrimeHub: a bastion behind an ingress's TCP proxy", {
  skip: labUnavailable('curl', 'haproxy'),
  timeout: 240_000,
}, () => {
  let lab: Lab;
  let ingress: Child;
  const sshd = {
    ports: [SSHD_PORT],
    logLevel: CHANNELS_LOGGED,
    permitOpen: [`*:${Port.http}`, `*:${Port.closed}`],
  };
  before(async () => {
    lab = await Lab.create({ sshd });
    await lab.jumphost.configure([], ['net/ipv4/tcp_syn_retries=1']);
    ingress = await startHaproxy(
      lab,
      `listen ssh-bastion-server\n  bind *:${PORT}\n  server pod 127.0.0.1:${SSHD_PORT}\n`,
      [PORT],
    );
  });
  after(async () => {
    await ingress?.stop('SIGKILL');
    await lab?.close();
  });
  let offset = 0;
  beforeEach(() => {
    offset = lab.sshd.log().length;
  });
  const logged = () => lab.sshd.log().slice(offset);
  const run = { args: ARGS, targets: [PRIVATE4] };

  for (const way of WAYS) {
    it(`${way}: a notebook is reached through the proxy`, async () => {
      assertReached(await fetchBy(way, lab, run), logged());
      assert.match(logged(), /Connection from 127\.0\.0\.1 /);
      assertForwardsOnly(logged());
    });

    it(`${way}: what the policy drops is silent, and never refused`, async () => {
      const url = `http://${BLACKHOLE4}/`;
      const began = performance.now();
      // A proxy has to answer; a captured connection stays silent until its application gives up.
      const patience = way === 'proxy' ? BASTION_GIVES_UP + SLACK_MS / 1000 : IMPATIENT;
      const fetched = await fetchBy(way, lab, { ...run, url, patience });
      assert.equal(fetched.stdout, '');
      if (way === 'proxy') assert.match(fetched.stderr, /\(97\)|TTL|proxy/i);
      else assert.equal(fetched.status, CURL_TIMEOUT, fetched.stderr);
      assert.ok(performance.now() - began < 20_000);
      assertForwardsOnly(logged());
    });

    it(`${way}: after 5 s a line says what is waited for`, async () => {
      await lab.jumphost.configure([], ['net/ipv4/tcp_syn_retries=6']);
      const url = `http://${BLACKHOLE4}/`;
      const { status, told } = await fetchBy(way, lab, { ...run, url, patience: 7 });
      await lab.jumphost.configure([], ['net/ipv4/tcp_syn_retries=1']);
      assert.equal(status, CURL_TIMEOUT);
      assert.match(told, new RegExp(`waiting for the jump host to open ${BLACKHOLE4}:80 `));
    });

    it(`${way}: a closed port is refused, and what PermitOpen lacks is prohibited`, async () => {
      const cases = [
        [Port.closed, /Connection refused/],
        [Port.echo, new RegExp(`does not permit ${API1}:${Port.echo}`)],
      ] as const;
      for (const [port, words] of cases) {
        const began = performance.now();
        const url = `http://${API1}:${port}/`;
        const fetched = await fetchBy(way, lab, { ...run, args: [...ARGS, '-v'], url });
        assert.equal(fetched.stdout, '');
        assert.notEqual(fetched.status, CURL_TIMEOUT, fetched.stderr);
        assert.match(fetched.told, words);
        assert.ok(performance.now() - began < 15_000);
      }
      assert.match(logged(), /port 7, but the request was denied/);
    });
  }

  it('doctor tells silence within its 5 s, and the rest at once', async () => {
    const targets = [`${API2}:${Port.http}`, `${BLACKHOLE4}:${Port.http}`, `${API1}:${Port.echo}`];
    await lab.jumphost.configure([], ['net/ipv4/tcp_syn_retries=6']);
    const began = performance.now();
    const report = await doctor(lab, { args: ARGS, targets });
    assert.ok(performance.now() - began < OPEN_PATIENCE_MS + 2 * SLACK_MS);
    await lab.jumphost.configure([], ['net/ipv4/tcp_syn_retries=1']);
    const told = report.of('forwarding');
    assert.match(told, new RegExp(`ok: ${API2}:80: opened`));
    assert.match(told, new RegExp(`failed: ${BLACKHOLE4}:80: no answer within 5 s`));
    assert.match(told, new RegExp(`failed: the jump host does not permit ${API1}:7`));
    assert.equal(report.exitStatus, 5);
    assertForwardsOnly(logged());
  });

  it('a proxy says what the bastion found out, as soon as it knows', async () => {
    const tunnel = await start('proxy', lab, run);
    try {
      const began = performance.now();
      const { status, stderr } = await lab.client.exec([
        ...['curl', '-sS', '--max-time', '20', `http://${BLACKHOLE4}/`],
        ...proxied(tunnel),
      ]);
      const ms = performance.now() - began;
      assert.notEqual(status, CURL_TIMEOUT, stderr);
      assert.ok(ms > 1_000 && ms < BASTION_GIVES_UP * 1_000 + SLACK_MS, `${ms} ms`);
    } finally {
      await tunnel.stop('SIGINT');
    }
  });

  it('the bastion restarts behind its proxy: the link comes back, and connections wait for it', async () => {
    const tunnel = await start('connect', lab, run);
    try {
      await lab.sshd.kill();
      await tunnel.waitForLine(/link lost/);
      const waiting = lab.client.exec(['curl', '-sS', '--max-time', '20', `http://${API1}/`]);
      await sleep(1_000);
      await lab.sshd.start();
      assertReached({ ...(await waiting), told: tunnel.stderr });
    } finally {
      await tunnel.stop('SIGINT');
    }
  });

  describe('a key that the bastion learns about later', () => {
    /** As PrimeHub's cache of keys, which is asked first. */
    const cache = () => join(lab.directory, 'cached-keys');
    const waiting = { ...run, args: [...ARGS, '--wait-auth', String(LEAST_WAIT_AUTH)] };
    before(async () => {
      writeFileSync(cache(), '');
      // The file is below /tmp, where others may write.
      const config = [`AuthorizedKeysFile ${cache()}`, 'StrictModes no'];
      await lab.sshd.restart({ ...sshd, config });
    });

    it('is a refused login, after one attempt', async () => {
      const { status, told } = await fetchBy('exec', lab, run);
      assert.equal(status, TUNNEL_FAILED, told);
      assert.match(told, /\[auth-failed\]/);
      assert.equal(logged().match(/Connection from /g)?.length, 1);
    });

    it('--wait-auth: connect, exec and proxy wait for it', async () => {
      const began = performance.now();
      const waits = WAYS.map((way) => fetchBy(way, lab, waiting));
      await sleep(LEARNS_AFTER_MS);
      writeFileSync(cache(), lab.credentials.authorizedKeys);
      for (const fetched of await Promise.all(waits)) {
        assertReached(fetched, logged());
        assert.match(fetched.told, /waiting up to 15 s for the login to be accepted/);
        assert.match(fetched.told, /the login is accepted, after (1[5-9]|2\d) s/);
      }
      assert.ok(performance.now() - began > LEAST_WAIT_AUTH * 1_000);
      // Two logins each: sshd's penalties would not have begun.
      assert.equal(logged().match(/Connection from /g)?.length, 2 * WAYS.length);
      assertForwardsOnly(logged());
    });
  });
});
