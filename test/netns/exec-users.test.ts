/**
 * The users that the command of `tunnel exec` and the SSH client run as: under sudo, under doas,
 * without a name, inside another `tunnel exec`.
 */
import assert from 'node:assert/strict';
import { chownSync, cpSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  API1,
  JUMPHOST_PRIVATE4,
  PRIVATE4,
  SILENT4,
  UPLINK4,
  UplinkPort,
} from '../support/addresses.ts';
import { SUDOERS, UID, USER } from '../support/etc.ts';
import { ExecLab, type ExecOptions } from '../support/execlab.ts';
import { labUnavailable } from '../support/lab.ts';
import type { ExecResult } from '../support/process.ts';
import { allProcesses, withDescendants } from '../support/processtable.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const TARGET = `http://${API1}/`;
const ETC = {
  // As systemd and Fedora bring them. ssh checks the owners of what is included.
  'ssh/ssh_config.d/20-included.conf': 'Host included\n  HostName included.example\n',
  sudoers: `${SUDOERS}${USER} ALL=(root) NOPASSWD: ALL\n`,
  'tunnel/config.yaml': 'profiles:\n  shared:\n    remote: jump\n',
  'doas.conf': `permit nopass keepenv ${USER} as root\n`,
};
/** A uid that no user database knows. */
const NOBODY = 54_321;

/** The same program, started by another command. */
const INNER = [process.execPath, MAIN, 'exec', '-r', REMOTE, PRIVATE4, '--'];

/**
 * Prints uid, gid, all groups, capabilities and whether more can be gained, HOME and USER, and the
 * API server's answer.
 */
const WHO = `id -u; id -g; id -G; grep CapPrm /proc/self/status | cut -f 2; grep NoNewPrivs /proc/self/status | cut -f 2
echo "$HOME"; echo "$USER"; curl -sS ${TARGET}`;
const MAY_PING = 'cat /proc/sys/net/ipv4/ping_group_range';
/**
 * Runs a command for which unshare(2) doesn't exist (seccomp(2)), as in some container runtimes.
 */
const FILTERED = `exec /usr/bin/python3 -c '
import ctypes, struct, sys
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
LOAD, JUMP_EQUAL, RETURN, ALLOW, ERRNO, ENOSYS = 0x20, 0x15, 0x06, 0x7fff0000, 0x00050000, 38
def step(code, yes, no, k): return struct.pack("HBBI", code, yes, no, k)
program = step(LOAD, 0, 0, 0) + step(JUMP_EQUAL, 0, 1, ${process.arch === 'arm64' ? 97 : 272}) + step(RETURN, 0, 0, ERRNO | ENOSYS) + step(RETURN, 0, 0, ALLOW)
class Filter(ctypes.Structure): _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(Filter(4, program)), 0, 0) == 0
import os
os.execvp(sys.argv[1], sys.argv[1:])
' "$@"`;
const NO_CAPABILITIES = '0000000000000000';

describe('exec: the user of the command', {
  skip: labUnavailable('openssl', 'unshare', 'curl', 'python3') || closedToOthers(MAIN),
}, () => {
  let exec: ExecLab;
  before(async () => {
    exec = await ExecLab.create(undefined, {}, ETC);
    await exec.startUplinkServer();
  });
  after(async () => {
    await exec?.close();
  });

  const run = (argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> =>
    exec.lab.client.exec(exec.userArgv(argv, options), {
      timeout: 30_000,
      env: { HOME: exec.home, ...options.env },
    });

  const peerOf = (json: string | undefined): string => JSON.parse(json ?? '').peer;

  /** Checks that the output of WHO is that of the user without privileges who called `via`. */
  function isTheUsers(
    { status, stdout, stderr }: ExecResult,
    via: string,
    noNewPrivileges: '0' | '1',
  ): void {
    const [uid, gid, groups, capabilities, locked, home, name, answer] = stdout.split('\n');
    assert.deepEqual([uid, gid, groups], [String(UID), String(UID), String(UID)], stderr);
    assert.equal(capabilities, NO_CAPABILITIES);
    assert.equal(locked, noNewPrivileges);
    assert.deepEqual([home, name], [exec.home, USER]);
    assert.equal(peerOf(answer), JUMPHOST_PRIVATE4);
    assert.ok(
      stderr.includes(
        `tunnel: the command and the SSH connection run as ${USER}, who called ${via}\n`,
      ),
      stderr,
    );
    assert.equal(status, 0);
  }

  const skipSudo = labUnavailable('sudo');
  const skipDoas = labUnavailable('doas');

  it('is who called sudo, for the SSH client as well', { skip: skipSudo }, async () => {
    // HOME is root's there, but the user's known_hosts and keys are used.
    const result = await run(['sudo', '-n', ...INNER, 'sh', '-c', `${WHO}; echo; ${MAY_PING}`]);
    isTheUsers(result, 'sudo', '1');
    assert.equal(result.stdout.trimEnd().split('\n').at(-1), `${UID}\t${UID}`);
  });

  it('may not trace it before it runs', { skip: skipSudo }, async () => {
    const held = [
      process.execPath,
      MAIN,
      'exec',
      '-r',
      `nobody@${SILENT4}`,
      PRIVATE4,
      '--',
      'true',
    ];
    const child = await exec.lab.client.spawn(exec.userArgv(['sudo', '-n', ...held]), {
      env: { HOME: exec.home },
    });
    try {
      await child.waitForLine(/the command and the SSH connection run as/);
      const ours = [...withDescendants([child.pid], allProcesses())].map((pid) => `/proc/${pid}`);
      const path = ours.find(
        (process) => readFileSync(`${process}/comm`, 'latin1') === 'tunnel-launcher\n',
      );
      assert.ok(path !== undefined);
      assert.match(readFileSync(`${path}/status`, 'latin1'), new RegExp(`^Uid:\\t${UID}\\t`, 'm'));
      // If a process may be traced, its user owns its files in /proc (proc(5)).
      assert.equal(statSync(`${path}/mem`).uid, 0);
    } finally {
      await child.stop();
    }
  });

  it('is the one who called doas', { skip: skipDoas }, async () => {
    isTheUsers(await run(['doas', '-n', ...INNER, 'sh', '-c', WHO]), 'doas', '1');
  });

  it('is the one who called sudo where root may not make namespaces itself', {
    skip: skipSudo,
  }, async () => {
    const weak = ['setpriv', '--bounding-set', '-sys_admin', '--'];
    isTheUsers(
      await run(['sudo', '-n', ...weak, ...INNER, 'sh', '-c', WHO.replace('id -G', 'id -g')]),
      'sudo',
      '1',
    );
  });

  it('is the one who called sudo where there are proxies instead', { skip: skipSudo }, async () => {
    const without = ['sh', '-c', 'mount -t tmpfs tmpfs /dev/net && exec "$@"', 'sh'];
    isTheUsers(await run(['sudo', '-n', ...without, ...INNER, 'sh', '-c', WHO]), 'sudo', '0');
  });

  it('is an error when sudo has left no valid user', async () => {
    for (const [env, wrong] of [
      [{ SUDO_UID: '12x' }, 'SUDO_UID names no user'],
      [{ SUDO_UID: '4294967295' }, 'SUDO_UID names no user'],
      [{ DOAS_USER: 'no-such-user' }, 'DOAS_USER names no user'],
      [{ SUDO_UID: '0', DOAS_USER: USER }, 'SUDO_UID and DOAS_USER name different users'],
    ] as const) {
      const { status, stderr } = await run([...INNER, 'true'], { root: true, env });
      assert.match(
        stderr,
        new RegExp(`^tunnel: error \\[launcher-privileges\\]: .*\\(${wrong}: EINVAL\\)`),
      );
      assert.equal(status, 125);
    }
  });

  it('is not changed by variables that sudo has left in the environment of another user', async () => {
    const { stdout } = await run([...INNER, 'id', '-u'], {
      env: { SUDO_UID: '0', DOAS_USER: 'root' },
    });
    assert.equal(stdout, `${UID}\n`);
  });

  it('may be a user without a name, of group 0, as in some clusters', async () => {
    const home = join(exec.lab.directory, 'nobody');
    cpSync(exec.home, home, { recursive: true });
    for (const path of ['', ...readdirSync(home, { recursive: true, encoding: 'utf8' })])
      chownSync(join(home, path), NOBODY, 0);
    const become = ['setpriv', `--reuid=${NOBODY}`, '--regid=0', '--clear-groups', '--'];
    const { stdout, stderr } = await run([...become, ...INNER, 'sh', '-c', WHO], {
      root: true,
      env: { HOME: home },
    });
    const lines = stdout.split('\n');
    assert.deepEqual(lines.slice(0, 5), [String(NOBODY), '0', '0', NO_CAPABILITIES, '1'], stderr);
    assert.equal(peerOf(lines[7]), JUMPHOST_PRIVATE4);
  });

  describe('inside another tunnel exec', () => {
    const beside = `curl -sS -m 5 --http0.9 http://${UPLINK4}:${UplinkPort.peer}/`;

    it('the user gets another separate network', async () => {
      const isolated = [...INNER.slice(0, -1), '--isolate', '--'];
      const script = `curl -sS ${TARGET}; readlink /proc/self/ns/net; ${beside}`;
      const { stdout, stderr, status } = await run([
        ...[...INNER, 'sh', '-c', 'readlink /proc/self/ns/net; exec "$@"', 'sh'],
        ...[...isolated, 'sh', '-c', script],
      ]);
      assert.match(stdout, /^net:.*\n\{.*\nnet:/, stderr);
      const [outer, answer, inner] = stdout.split('\n');
      assert.equal(peerOf(answer), JUMPHOST_PRIVATE4, stderr);
      assert.match(inner ?? '', /^net:/);
      assert.notEqual(inner, outer);
      assert.match(stderr, /^curl: \(7\) [^\n]*\n$/);
      assert.equal(status, 7);
    });

    it('ssh takes what the system includes, which is root’s outside', async () => {
      const { stdout, stderr, status } = await run([...INNER, 'ssh', '-G', 'included']);
      assert.equal(status, 0, stderr);
      assert.match(stdout, /^hostname included\.example$/m);
      const own = await run([...INNER, process.execPath, MAIN, 'list']);
      assert.match(own.stdout, /^shared .*\/etc\/tunnel\/config\.yaml/m, own.stderr);
    });

    it('root, who cannot be mapped there, gets an error that says so', async () => {
      const isolated = [...INNER.slice(0, -1), '--isolate', '--'];
      const { status, stderr } = await run([...INNER, ...isolated, 'true'], { root: true });
      assert.match(stderr, /error \[namespace-refused\]: .*uid_map: EPERM/);
      assert.match(stderr, /hint: root without CAP_SETFCAP can't have a user namespace/);
      assert.equal(status, 125);
    });
  });

  it('says what a system call filter denies', async () => {
    const script = FILTERED;
    const { status, stdout, stderr } = await exec.exec([PRIVATE4, '--', 'curl', '-sS', TARGET], {
      script,
    });
    assert.match(
      stderr,
      /^tunnel: warning: .*\(user namespace: ENOSYS\): the command is run with proxy variables/,
    );
    assert.equal(peerOf(stdout), JUMPHOST_PRIVATE4);
    assert.equal(status, 0);
    assert.equal((await exec.exec(['--isolate', PRIVATE4, '--', 'true'], { script })).status, 125);
  });
});
