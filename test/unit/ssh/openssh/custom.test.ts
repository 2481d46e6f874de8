/**
 * A custom command (-e) that puts a process between the tunnel and ssh, as sudo and wrappers do:
 * ssh must end with the tunnel all the same.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { GUARD_PATH } from '../../../../src/native/addon.ts';
import { SUDOERS, UID, USER, withEtc } from '../../../support/etc.ts';
import { LoopbackSshd, sshdMissing } from '../../../support/loopback-sshd.ts';
import { type Changes, opensshOptions } from '../../../support/openssh.ts';
import { closeAll, dial } from '../../../support/opensshlab.ts';
import { closedToOthers, labUnavailable } from '../../../support/requirements.ts';
import { until } from '../../../support/until.ts';

const OPENSSHDIAL = fileURLToPath(new URL('../../../support/opensshdial.js', import.meta.url));
/** Does not exec, and so is all that a signal to the child reaches. */
const WRAPPER = ['sh', '-c', 'ssh "$@"; exit $?', 'sh'] as const;

describe('ssh under a custom command', { skip: sshdMissing }, () => {
  let sshd: LoopbackSshd;
  let directory: string;
  /** The processes whose ssh is looked for: this one, and tunnels of their own. */
  const owners = new Set([process.pid]);

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tunnel-openssh-test-'));
    sshd = await LoopbackSshd.start();
  });

  after(async () => {
    await closeAll();
    await sshd.stop();
    await rm(directory, { recursive: true, force: true });
  });

  /**
   * Command lines of what connects to `sshd`, and of guards of their owners: the directory of what
   * they watch is called so. Other programs of this machine may have guards, too.
   */
  const running = (): string[] =>
    commandLines().filter(
      (line) =>
        line.includes(` -p ${sshd.port} `) ||
        (line.startsWith(GUARD_PATH) &&
          [...owners].some((pid) => line.includes(`-${pid.toString(36)}-`))),
    );

  const assertGone = () =>
    until(
      () => running().length === 0,
      () => running().join('\n'),
    );

  /** A tunnel process of its own, which has a link when this resolves. */
  async function tunnel(
    changes: Changes,
    inside = (argv: readonly string[]) => [...argv],
  ): Promise<ChildProcess> {
    const options = await opensshOptions(sshd, changes);
    const [program = '', ...args] = inside([process.execPath, OPENSSHDIAL]);
    const child = spawn(program, args, {
      env: { ...process.env, XDG_RUNTIME_DIR: '', OPENSSH_OPTIONS: JSON.stringify(options) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    owners.add(child.pid ?? 0);
    await once(child.stdout ?? child, 'data');
    return child;
  }

  it('ends with a link that is closed, and with a tunnel that is killed', async () => {
    const changes: Changes = { given: { command: WRAPPER } };
    await dial(sshd, changes);
    // ssh listens a moment before it starts the guard.
    const guarded = () => running().some((line) => line.startsWith(GUARD_PATH));
    await until(guarded, 'there is no guard');
    await closeAll();
    await assertGone();
    const killed = await tunnel(changes);
    assert.ok(running().length > 1);
    killed.kill('SIGKILL');
    await assertGone();
  });

  it('ends although it runs as root, and the tunnel as somebody who may not signal it', {
    skip: labUnavailable('sudo', 'unshare', 'openssl') || closedToOthers(OPENSSHDIAL),
  }, async () => {
    await chmod(directory, 0o755);
    const sudoers = `${SUDOERS}Defaults use_pty\n${USER} ALL=(root) NOPASSWD: ALL\n`;
    const inside = withEtc(directory, { sudoers });
    const user = ['setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', '--'];
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      const child = await tunnel({ given: { command: ['sudo', '-n', 'ssh'] } }, (argv) =>
        inside([...user, ...argv]),
      );
      assert.ok(running().some((line) => line.startsWith('sudo ')));
      child.kill(signal);
      await assertGone();
    }
  });

  it('is not left behind by a guard that comes too late', async () => {
    const log = join(directory, 'log');
    await promisify(execFile)('mkfifo', [log]);
    for (const path of [log, join(directory, 'nothing')]) {
      const child = spawn('sh', ['-c', `"${GUARD_PATH}" "${path}" socks; sleep 60`], {
        stdio: 'ignore',
      });
      assert.deepEqual(await once(child, 'exit'), [null, 'SIGQUIT']);
    }
  });
});

/** Of all processes, the words joined by spaces. */
function commandLines(): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    try {
      return /^\d+$/.test(pid)
        ? [readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')]
        : [];
    } catch {
      return []; // it has ended meanwhile
    }
  });
}
