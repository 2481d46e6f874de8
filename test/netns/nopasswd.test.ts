/**
 * The whole program as a user that this machine doesn't know, as in containers: no passwd entry,
 * maybe no home.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { closedToOthers, labUnavailable } from '../support/requirements.ts';
import { MAIN } from '../support/tunnel.ts';

const UID = 47_111;
const TIMEOUT_MS = 15_000;

describe('as a user without a passwd entry', {
  skip: sshdMissing || labUnavailable('setpriv') || closedToOthers(MAIN),
}, () => {
  let sshd: LoopbackSshd;
  let directory: string;

  before(async () => {
    sshd = await LoopbackSshd.start();
    directory = await mkdtemp(join(tmpdir(), 'tunnel-nopasswd-'));
    await chmod(directory, 0o755);
    await cp(sshd.userKey, join(directory, 'key'));
    await chown(join(directory, 'key'), UID, UID);
    await writeFile(join(directory, 'known_hosts'), await sshd.knownHostsLine());
  });

  after(async () => {
    await sshd.stop();
    await rm(directory, { recursive: true, force: true });
  });

  /** Waits until it is ready, or has ended. */
  async function proxy(
    remote: string,
    more: readonly string[],
    environment: NodeJS.ProcessEnv,
  ): Promise<string> {
    const known = `UserKnownHostsFile=${join(directory, 'known_hosts')}`;
    const args = [
      'proxy',
      '-r',
      remote,
      '-i',
      join(directory, 'key'),
      '-o',
      known,
      '--socks',
      '127.0.0.1:0',
    ];
    const user = [
      `--reuid=${UID}`,
      `--regid=${UID}`,
      '--clear-groups',
      '--',
      process.execPath,
      MAIN,
    ];
    const child = spawn('setpriv', [...user, ...args, ...more, '10.0.0.0/8'], {
      env: { PATH: process.env['PATH'], ...environment },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const exited = once(child, 'exit');
    const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS);
    let output = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (/^tunnel: ready$/m.test(output)) child.kill('SIGINT');
    });
    const [status] = await exited;
    clearTimeout(timer);
    return `${output}status ${status}`;
  }

  for (const [name, environment] of [
    ['with a HOME that can not be written', { HOME: '/' }],
    ['with a HOME that is not there', { HOME: '/nonexistent' }],
    ['without HOME', {}],
  ] as const) {
    it(`works ${name}, with a user in -r`, async () => {
      const output = await proxy(`${sshd.user}@127.0.0.1:${sshd.port}`, [], environment);
      assert.match(output, /^tunnel: ready\n(.*\n)*status 0$/m);
    });
  }

  it('takes the user from USER, and says what to write if that is not set', async () => {
    const remote = `127.0.0.1:${sshd.port}`;
    assert.match(await proxy(remote, [], { USER: sshd.user }), /^tunnel: ready/m);
    assert.match(
      await proxy(remote, [], {}),
      /error \[usage\].*\n.*-r user@jumphost(.*\n)*status 2$/m,
    );
  });

  it('says that the system ssh does not run for such a user', async () => {
    const output = await proxy(
      `${sshd.user}@127.0.0.1:${sshd.port}`,
      ['--transport', 'openssh'],
      {},
    );
    assert.match(output, /error \[openssh-unusable\].*passwd file\n.*--transport ssh2/);
  });
});
