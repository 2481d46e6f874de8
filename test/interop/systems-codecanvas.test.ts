/**
 * CodeCanvas: jump servers on any port of 1023-65535, with an external and an internal address, and
 * a host key that is pinned (docs/jump-hosts.md). A real sshd; the external address is a load
 * balancer in TCP mode.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { API1, CLIENT4, JUMPHOST_PRIVATE4, JUMPHOST4, PRIVATE4 } from '../support/addresses.ts';
import { JUMP_USER } from '../support/credentials.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { type Child, mustRun } from '../support/process.ts';
import { Sshd } from '../support/sshd.ts';
import {
  assertForwardsOnly,
  assertReached,
  CHANNELS_LOGGED,
  doctor,
  fetchBy,
  start,
  startHaproxy,
  WAYS,
} from '../support/systems.ts';

/** The ends of the range that CodeCanvas takes, and one within. */
const PORTS = [1023, 22022, 65535];
/** The load balancer's, and the one of the jump server itself. */
const EXTERNAL_PORT = 2222;
const INTERNAL_PORT = 22022;
/** Another address of the jump host, which the client can reach. */
const INTERNAL4 = '198.51.100.20';
const EXTERNAL = `${JUMP_USER}@${JUMPHOST4}:${EXTERNAL_PORT}`;
const INTERNAL = `${JUMP_USER}@${INTERNAL4}:${INTERNAL_PORT}`;
/** The internal address as most users have it: without a way there. */
const OUT_OF_REACH = `${JUMP_USER}@${JUMPHOST_PRIVATE4}:${INTERNAL_PORT}`;
/** exec with a host key that is not accepted. */
const TUNNEL_FAILED = 125;
const HOST_KEY_REJECTED = 4;
const TIMEOUT_MS = 30_000;

describe('CodeCanvas: a jump server with two addresses and a pinned key', {
  skip: labUnavailable('curl', 'haproxy'),
  timeout: 180_000,
}, () => {
  let lab: Lab;
  let haproxy: Child;
  /** As `ssh-keygen -y` and the administrator's page show it, with a comment. */
  let wholeKey: string;
  let fingerprint: string;
  const sshd = { ports: PORTS, logLevel: CHANNELS_LOGGED };

  before(async () => {
    lab = await Lab.create({ sshd });
    await lab.jumphost.configure([`addr add ${INTERNAL4}/24 dev uplink`]);
    haproxy = await startHaproxy(
      lab,
      `listen jump\n  bind ${JUMPHOST4}:${EXTERNAL_PORT}\n  server one ${INTERNAL4}:${INTERNAL_PORT}\n`,
      [EXTERNAL_PORT],
    );
    const [ed25519 = ''] = lab.credentials.hostKeys;
    wholeKey = readFileSync(`${ed25519}.pub`, 'utf8').trim();
    assert.match(wholeKey, /^ssh-ed25519 \S+ \S+$/);
    fingerprint = (await mustRun(['ssh-keygen', '-lf', ed25519])).split(' ')[1] ?? '';
    assert.match(fingerprint, /^SHA256:/);
  });
  after(async () => {
    await haproxy?.stop('SIGKILL');
    await lab?.close();
  });
  let offset = 0;
  beforeEach(() => {
    offset = lab.sshd.log().length;
  });
  const logged = () => lab.sshd.log().slice(offset);

  for (const way of WAYS)
    for (const port of PORTS)
      it(`${way} at port ${port}`, async () => {
        const args = ['-r', `${JUMP_USER}@${JUMPHOST4}`, '-p', String(port)];
        const run = { args: [...args, '--host-key', wholeKey], targets: [PRIVATE4] };
        assertReached(await fetchBy(way, lab, run), logged());
        assertForwardsOnly(logged());
      });

  const pins = { 'a whole line': () => wholeKey, 'a fingerprint': () => fingerprint };
  for (const way of WAYS)
    for (const [how, pin] of Object.entries(pins))
      it(`${way}: the key pinned by ${how}, the external address before the internal one`, async () => {
        const args = ['-r', EXTERNAL, '-r', OUT_OF_REACH, '--host-key', pin()];
        assertReached(await fetchBy(way, lab, { args, targets: [PRIVATE4] }), logged());
        assert.match(logged(), new RegExp(`Connection from ${JUMPHOST4} `));
        assertForwardsOnly(logged());
      });

  describe('while the external address is silent', () => {
    before(async () => {
      const drop = `table inet gone { chain input {
        type filter hook input priority filter; policy accept;
        ip daddr ${JUMPHOST4} tcp dport ${EXTERNAL_PORT} drop;
      }; }`;
      const { status, stderr } = await lab.jumphost.exec(['nft', '-f', '-'], { input: drop });
      assert.equal(status, 0, stderr);
    });
    after(() => lab.jumphost.exec(['nft', 'delete', 'table', 'inet', 'gone']));

    for (const way of WAYS)
      it(`${way}: the internal address is used where it answers`, async () => {
        const args = ['-r', EXTERNAL, '-r', INTERNAL, '--host-key', wholeKey];
        assertReached(await fetchBy(way, lab, { args, targets: [PRIVATE4] }), logged());
        assert.match(logged(), new RegExp(`Connection from ${CLIENT4} `));
      });
  });

  describe('once the host was replaced', () => {
    let other: Sshd;
    before(async () => {
      const { stranger } = lab.credentials.keys;
      const credentials = { ...lab.credentials, hostKeys: [stranger] };
      other = new Sshd(lab.jumphost, join(lab.directory, 'other'), credentials, sshd);
    });
    after(() => other?.kill());

    it('a tunnel that runs ends, and sends no login to the new host', async () => {
      const args = ['-r', EXTERNAL, '--host-key', wholeKey];
      const tunnel = await start('connect', lab, { args, targets: [PRIVATE4] });
      await lab.sshd.kill();
      await other.start();
      const { status } = await tunnel.wait(TIMEOUT_MS);
      assert.equal(status, HOST_KEY_REJECTED, tunnel.stderr);
      assert.match(
        tunnel.stderr,
        /shows the host key ssh-ed25519 SHA256:\S+, but --host-key pins SHA256:/,
      );
      assert.doesNotMatch(other.log(), /Accepted|userauth-request|Failed/);
    });

    for (const [how, pin] of Object.entries(pins))
      it(`new tunnels are refused by ${how}, and doctor says why`, async () => {
        for (const remote of [EXTERNAL, INTERNAL]) {
          const run = { args: ['-r', remote, '--host-key', pin()], targets: [API1] };
          const { status, told } = await fetchBy('exec', lab, run);
          assert.equal(status, TUNNEL_FAILED, told);
          assert.match(told, /\[host-key-changed\]/);
          const report = await doctor(lab, run);
          assert.equal(report.exitStatus, HOST_KEY_REJECTED);
          assert.match(report.of('host-key'), /failed: .*--host-key pins/);
        }
        assert.doesNotMatch(other.log(), /Accepted|userauth-request|Failed/);
      });
  });
});
