/** `sudo tunnel -D`: both of its parts leave the terminal, and neither becomes the other's user. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { lives } from '../../src/control/directory.ts';
import { processStat } from '../../src/system/process.ts';
import { API1, JUMPHOST_PRIVATE4, PRIVATE4 } from '../support/addresses.ts';
import { UID } from '../support/etc.ts';
import { descriptorsOf, SUDO, SudoLab, statusOf, sudoUnavailable } from '../support/sudolab.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';
import { until } from '../support/until.ts';

describe('sudo tunnel -D', { skip: sudoUnavailable('curl') }, () => {
  let sudo: SudoLab;
  let pidfile: string;
  before(async () => {
    sudo = await SudoLab.create();
    pidfile = join(sudo.exec.home, 'tunnel.pid');
  });
  after(() => sudo?.close());

  for (const ended of ['the program', 'the part that is root'])
    it(`runs on in two processes without terminal, until ${ended} is stopped`, async () => {
      const args = ['-r', REMOTE, PRIVATE4, '-D', '--pidfile', pidfile];
      const started = await sudo.run([...SUDO, ...args]);
      assert.equal(started.status, 0, started.stderr);
      assert.match(started.stderr, /^tunnel: ready$/m);
      const program = Number(readFileSync(pidfile, 'latin1'));
      const part = processStat(program)?.parent ?? 0;
      try {
        for (const [pid, uid] of [
          [program, UID],
          [part, 0],
        ] as const) {
          assert.ok(statusOf(pid, 'Uid').every((it) => it.startsWith(`${uid}\t`)));
          const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
          const [, , group, session, terminal] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
          assert.deepEqual([group, session, terminal], [String(pid), String(pid), '0']);
          for (const fd of [0, 1, 2])
            assert.equal(readlinkSync(`/proc/${pid}/fd/${fd}`), '/dev/null');
        }
        await until(
          () => descriptorsOf(part).filter((it) => it === 'socket:').length === 1,
          `the part that is root has more open: ${descriptorsOf(part).join(', ')}`,
        );
        const { stdout } = await sudo.run(['curl', '-sS', '-m', '10', `http://${API1}/`]);
        assert.equal(JSON.parse(stdout).peer, JUMPHOST_PRIVATE4);
      } finally {
        process.kill(ended === 'the program' ? program : part, 'SIGTERM');
        await until(() => !lives(program) && !lives(part), 'a part is left');
      }
      assert.ok(!existsSync(pidfile));
      await sudo.untouched();
    });

  it('is stopped by its name by whoever has called sudo, with sudo and without', async () => {
    for (const [name, stops] of [
      [`sudo-${process.pid}`, SUDO],
      [`plain-${process.pid}`, [process.execPath, MAIN]],
    ] as const) {
      const args = ['-r', REMOTE, PRIVATE4, '-D', '--pidfile', pidfile, '--name', name];
      const started = await sudo.run([...SUDO, ...args]);
      assert.equal(started.status, 0, started.stderr);
      const program = Number(readFileSync(pidfile, 'latin1'));
      const part = processStat(program)?.parent ?? 0;
      const stopped = await sudo.run([...stops, 'stop', name]);
      if (stopped.status !== 0) process.kill(program, 'SIGTERM');
      await until(() => !lives(program) && !lives(part), 'a part is left');
      assert.equal(stopped.status, 0, stopped.stderr);
    }
    const { status, stderr } = await sudo.run([...SUDO, 'stop', `root-${process.pid}`]);
    assert.equal(status, 2, stderr);
    assert.match(
      stderr,
      /hint: .*without SUDO_UID in the environment root finds those of all users/,
    );
  });

  it('fails with the status of the program', async () => {
    const { status, stderr } = await sudo.run([...SUDO, '-r', `nobody@${JUMPHOST_PRIVATE4}`, '-D']);
    assert.equal(status, 2, stderr);
  });

  it('says where -D must be when only a file says so', async () => {
    const args = join(sudo.exec.home, 'args');
    await sudo.run(['sh', '-c', `echo -D >${args}`]);
    const { status, stderr } = await sudo.run([...SUDO, '-r', REMOTE, PRIVATE4, `@${args}`]);
    assert.equal(status, 2, stderr);
    assert.match(stderr, /-D must be on the command line itself/);
  });
});
