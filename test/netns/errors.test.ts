/**
 * Each error ends the program with one line, a hint, a stable code and its exit code, before
 * anything is captured.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { API1, JUMPHOST4, Port, PRIVATE4, SILENT4 } from '../support/addresses.ts';
import { JUMP_USER } from '../support/credentials.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child, ExecResult } from '../support/process.ts';
import { closedToOthers } from '../support/requirements.ts';
import { type Attempt, dial, MAIN, REMOTE, runTunnel, startTunnel } from '../support/tunnel.ts';

/** The ids on Debian; any user except root without a sudo rule would do. */
const NOBODY = { uid: 65534, gid: 65534 };

/** SILENT4 as /proc/net/tcp writes it. */
const SILENT4_HEX = '4D0200C0';

/**
 * Waits until the process's network has an unanswered TCP connection to SILENT4, or a query to it.
 */
async function waitsFor(what: 'tcp' | 'udp', tunnel: Child): Promise<void> {
  const socket =
    what === 'tcp'
      ? new RegExp(` ${SILENT4_HEX}:0016 02 `)
      : new RegExp(` ${SILENT4_HEX}:0035 01 `);
  while (!socket.test(readFileSync(`/proc/${tunnel.pid}/net/${what}`, 'latin1'))) {
    assert.equal(tunnel.ended, undefined, tunnel.stderr);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe('errors', { skip: labUnavailable() }, () => {
  let lab: Lab;
  let untouched: string;
  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
    untouched = await lab.client.hostState();
  });
  after(async () => {
    await lab?.close();
  });

  /**
   * Expects one line that says what happened, one with a hint, the code and the status, and no
   * change on the machine.
   */
  async function expectError(result: ExecResult, status: number, code: string): Promise<void> {
    const lines = result.stderr.trimEnd().split('\n');
    const errors = lines.filter((line) => line.startsWith('tunnel: error ['));
    assert.equal(errors.length, 1, result.stderr);
    assert.ok(errors[0]?.startsWith(`tunnel: error [${code}]: `), result.stderr);
    assert.equal(
      lines.filter((line) => line.startsWith('tunnel: hint: ')).length,
      1,
      result.stderr,
    );
    assert.doesNotMatch(result.stderr, /tunnel: ready/);
    assert.equal(result.status, status);
    assert.equal(await lab.client.hostState(), untouched);
  }

  for (const target of [
    '10.0.0.0/33',
    '10.0.0.1.2',
    '010.0.0.1',
    '10.0.0.0/8:0',
    'no-such-prefix/8',
  ]) {
    it(`of a malformed target: ${target}`, async () => {
      const result = await runTunnel(lab.client, ['-r', REMOTE, target]);
      await expectError(result, 2, 'usage');
      assert.ok(result.stderr.includes(target), result.stderr);
    });
  }

  it('of an unknown user, and of a key that the jump host does not know', async () => {
    await expectError(
      await runTunnel(lab.client, ['-r', `nobody-here@${JUMPHOST4}`, PRIVATE4]),
      3,
      'auth-failed',
    );
    const stranger = lab.credentials.keys.stranger;
    await expectError(
      await runTunnel(lab.client, ['-r', REMOTE, '-i', stranger, PRIVATE4]),
      3,
      'auth-failed',
    );
  });

  it('of an unknown host key: no authentication is tried', async () => {
    const logins = () =>
      lab.sshd.log().match(/userauth-request|Failed|Accepted|Postponed/g)?.length ?? 0;
    const before = logins();
    const home = { HOME: `${lab.directory}/nowhere` };
    const argv = ['setsid', process.execPath, MAIN, '-r', REMOTE, PRIVATE4];
    const unknown = await lab.client.exec(argv, { env: home });
    await expectError(unknown, 4, 'host-key-unknown');
    assert.match(unknown.stderr, /there is nobody to ask whether to trust it/);
    assert.match(unknown.stderr, /SHA256:[A-Za-z0-9+/]{43}/);
    assert.equal(logins(), before);
  });

  it('of a host key that has changed: both fingerprints are shown', async () => {
    const pin = `SHA256:${'A'.repeat(43)}`;
    const changed = await runTunnel(lab.client, ['-r', REMOTE, '--host-key', pin, PRIVATE4]);
    await expectError(changed, 4, 'host-key-changed');
    assert.ok(changed.stderr.includes(pin));
    assert.ok(
      (changed.stderr.match(/SHA256:[A-Za-z0-9+/]{43}/g) ?? []).length >= 2,
      changed.stderr,
    );
  });

  it('of a jump host where nobody listens, and of one that does not exist', async () => {
    await expectError(
      await runTunnel(lab.client, ['-r', `${REMOTE}:2999`, PRIVATE4]),
      5,
      'jumphost-refused',
    );
    const absent = await runTunnel(lab.client, [
      '-r',
      `${JUMP_USER}@10.99.0.1`,
      '--connect-timeout',
      '2',
      PRIVATE4,
    ]);
    await expectError(absent, 5, 'jumphost-unreachable');
    const name = await runTunnel(lab.client, ['-r', `${JUMP_USER}@no-such-host.invalid`, PRIVATE4]);
    await expectError(name, 5, 'jumphost-dns');
  });

  it('of a port that speaks HTTP', async () => {
    const server = await lab.jumphost.spawn([
      'ncat',
      '-lk',
      JUMPHOST4,
      '8080',
      '-c',
      'printf "HTTP/1.1 400 Bad Request\\r\\n\\r\\n"',
    ]);
    try {
      const result = await runTunnel(lab.client, ['-r', `${REMOTE}:8080`, PRIVATE4]);
      await expectError(result, 5, 'jumphost-not-ssh');
      assert.match(result.stderr, /HTTP\/1\.1 400/);
    } finally {
      await server.stop('SIGKILL');
    }
  });

  it('of a machine without /dev/net/tun', async () => {
    const hidden = 'mount -t tmpfs none /dev/net && exec "$@"';
    const result = await lab.client.exec([
      'sh',
      '-c',
      hidden,
      'sh',
      process.execPath,
      MAIN,
      '-r',
      REMOTE,
      PRIVATE4,
    ]);
    await expectError(result, 6, 'capture-no-tun');
  });

  it('of a TMPDIR that does not exist', async () => {
    const env = { TMPDIR: `${lab.directory}/nowhere` };
    const result = await lab.client.exec([process.execPath, MAIN, '-r', REMOTE, PRIVATE4], { env });
    await expectError(result, 6, 'capture-failed');
  });

  it('of an encrypted key without a terminal: the hint is about the key', async () => {
    const argv = [
      'setsid',
      process.execPath,
      MAIN,
      '-r',
      REMOTE,
      '-i',
      lab.credentials.keys.encrypted,
      PRIVATE4,
    ];
    const result = await lab.client.exec(argv);
    await expectError(result, 3, 'no-terminal');
    assert.match(result.stderr, /hint: .*ssh-add/);
  });

  it('of a user without privileges', { skip: closedToOthers(MAIN) }, async () => {
    const key = readFileSync(lab.credentials.keys.authorized);
    const known = readFileSync(lab.credentials.knownHosts.plain);
    // The user has a home, but sudo has no rule for it and no terminal to ask at.
    const script = `
      home=$(mktemp -d) && trap 'rm -rf "$home"' EXIT && mkdir -m 700 "$home/.ssh" &&
      printf %s "$KEY" | base64 -d > "$home/.ssh/id_ed25519" && chmod 600 "$home/.ssh/id_ed25519" &&
      printf %s "$KNOWN" | base64 -d > "$home/.ssh/known_hosts" &&
      HOME=$home "$@"`;
    const result = await lab.client.exec(
      ['sh', '-c', script, 'sh', process.execPath, MAIN, '-r', REMOTE, PRIVATE4],
      {
        user: NOBODY,
        env: { KEY: key.toString('base64'), KNOWN: known.toString('base64'), XDG_RUNTIME_DIR: '' },
      },
    );
    await expectError(result, 6, 'capture-privileges');
  });

  it('of a second tunnel to the same range: the first goes on', async () => {
    const first = await startTunnel(lab.client, [PRIVATE4]);
    try {
      const logins = lab.sshd.log().match(/Accepted publickey/g)?.length;
      const second = await runTunnel(lab.client, ['-r', REMOTE, PRIVATE4]);
      assert.equal(second.status, 7, second.stderr);
      assert.match(second.stderr, /error \[already-running\]: .*10\.77\.0\.0\/16.*tun0/);
      assert.equal(lab.sshd.log().match(/Accepted publickey/g)?.length, logins, 'before the login');
      // Ranges that overlap in part are told by the helper.
      const inside = await runTunnel(lab.client, ['-r', REMOTE, '10.77.0.0/24']);
      assert.match(inside.stderr, /error \[already-running\]: .*10\.77\.0\.0\/24.*tun0/);
      const [attempt] = await dial<Attempt[]>(lab.client, 'connect', API1, Port.http);
      assert.equal(attempt?.outcome, 'open');
    } finally {
      await first.stop('SIGINT');
    }
    assert.equal(await lab.client.hostState(), untouched);
  });

  for (const [doing, remote, what] of [
    ['dials', `${JUMP_USER}@${SILENT4}`, 'tcp'],
    ['resolves', `${JUMP_USER}@some-host.test`, 'udp'],
  ] as const) {
    it(`is not reported when it is stopped while it ${doing}`, { timeout: 30_000 }, async () => {
      const conf = `${lab.directory}/silent.conf`;
      writeFileSync(conf, `nameserver ${SILENT4}\n`);
      const script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
      const argv = [process.execPath, MAIN, '-r', remote, '10.99.0.0/16'];
      const tunnel = await lab.client.spawn(['sh', '-c', script, conf, ...argv]);
      await waitsFor(what, tunnel);
      const stopped = performance.now();
      assert.deepEqual(await tunnel.stop('SIGTERM'), { status: 143, signal: null });
      const ms = performance.now() - stopped;
      assert.ok(ms < 3_000, `a look-up that nobody answers takes longer than ${ms} ms`);
      assert.equal(tunnel.stderr, '');
      assert.equal(await lab.client.hostState(), untouched);
    });
  }

  it('is only a warning when the targets contain this machine’s resolver', async () => {
    const conf = `${lab.directory}/resolv.conf`;
    writeFileSync(conf, 'nameserver 10.77.0.53\n');
    const script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
    const tunnel = await lab.client.spawn([
      'sh',
      '-c',
      script,
      conf,
      process.execPath,
      MAIN,
      '-r',
      REMOTE,
      PRIVATE4,
    ]);
    try {
      await tunnel.waitForLine(/tunnel: ready\n/);
      assert.match(tunnel.stderr, /warning: the targets contain the resolver 10\.77\.0\.53/);
    } finally {
      await tunnel.stop('SIGTERM');
    }
  });

  it('--ready-fd gets one line when traffic flows, and then the end', async () => {
    const script = `exec 3>"$1"; shift; exec "$@"`;
    const file = `${lab.directory}/ready`;
    const tunnel = await lab.client.spawn([
      'sh',
      '-c',
      script,
      'sh',
      file,
      process.execPath,
      MAIN,
      '-r',
      REMOTE,
      '--ready-fd',
      '3',
      PRIVATE4,
    ]);
    try {
      await tunnel.waitForLine(/tunnel: ready\n/);
      assert.equal(readFileSync(file, 'utf8'), 'READY=1\n');
    } finally {
      await tunnel.stop('SIGTERM');
    }
  });
});
