/**
 * What the head of the drop-in has an administrator type: applied, applied again, verified, and
 * undone, with this machine's sshd and accounts in an /etc and a /home that only the test sees.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { labUnavailable } from '../support/lab.ts';
import { type ExecResult, mustRun, run } from '../support/process.ts';
import { MAIN } from '../support/tunnel.ts';

const LOGIN = 'gatekeeper';
const SECTIONS = ['Apply', 'Verify', 'Undo'] as const;

const made: string[] = [];
after(() => {
  for (const directory of made) rmSync(directory, { recursive: true });
});

class Host {
  readonly directory = mkdtempSync(join(tmpdir(), 'tunnel-apply-'));

  constructor() {
    made.push(this.directory);
    cpSync('/etc', join(this.directory, 'etc'), { recursive: true, verbatimSymlinks: true });
    for (const name of ['home', 'bin']) mkdirSync(join(this.directory, name));
    this.write('etc/ssh/sshd_config', 'UsePAM yes\nAllowTcpForwarding yes\n');
    rmSync(join(this.directory, 'etc/ssh/sshd_config.d'), { recursive: true, force: true });
    mkdirSync(join(this.directory, 'etc/ssh/sshd_config.d'));
    const stub = join(this.directory, 'bin/systemctl');
    writeFileSync(stub, '#!/bin/sh\necho "systemctl $*"\n', { mode: 0o755 });
  }

  write(path: string, text: string): void {
    writeFileSync(join(this.directory, path), text);
  }

  /** Commands as root of this host, in the directory with the rendered file. */
  run(script: string): Promise<ExecResult> {
    // Processes are its own, too: what it kills by an account's number would be others'.
    const mounts = `for at in etc home; do mount --bind "$1/$at" "/$at"; done; mount -t tmpfs tmpfs /run
      mkdir /run/sshd; ssh-keygen -A >/dev/null; cd "$1" && PATH=$1/bin:$PATH && export PATH
      eval "$2"`;
    return run([
      'unshare',
      '-mpf',
      '--mount-proc',
      'sh',
      '-c',
      mounts,
      'sh',
      this.directory,
      script,
    ]);
  }

  /** Renders the drop-in, and returns the commands of its head. */
  async render(openssh: string, list: string): Promise<Record<(typeof SECTIONS)[number], string>> {
    const args = ['jumphost', 'sshd', '--user', LOGIN, '--openssh', openssh, list];
    const text = await mustRun([process.execPath, MAIN, ...args]);
    this.write('10-tunnel.conf', text);
    const commands = { Apply: '', Verify: '', Undo: '' };
    let section: (typeof SECTIONS)[number] | undefined;
    for (const line of text.split('\n')) {
      section = SECTIONS.find((name) => line.startsWith(`# ${name}`)) ?? section;
      if (!line.startsWith('#')) break;
      if (section !== undefined && /^# {3}(?!tunnel )/.test(line))
        commands[section] += `${line.slice(2)}\n`;
    }
    return commands;
  }
}

const FORWARDING = `sshd -T -C user=${LOGIN},host=x,addr=192.0.2.1 | grep -E '^(permitopen|maxsessions)'`;

describe('the head of the drop-in', {
  skip: labUnavailable('unshare', 'useradd', 'ssh-keygen'),
  timeout: 120_000,
}, () => {
  for (const openssh of ['8.2', '9.2']) {
    it(`is applied, applied with another list, and undone (${openssh})`, async () => {
      const host = new Host();
      const first = await host.render(openssh, '10.0.0.5:443');
      assert.match((await host.run(first.Apply)).stdout, /^systemctl try-reload-or-restart ssh$/m);
      assert.equal((await host.run(first.Verify)).stdout.trim().split('\n').length, 4);

      const second = await host.render(openssh, '10.0.0.6:443');
      assert.match((await host.run(second.Apply)).stdout, /^systemctl try-reload-or-restart ssh$/m);
      assert.equal((await host.run(FORWARDING)).stdout, 'maxsessions 0\npermitopen 10.0.0.6:443\n');

      await host.run(second.Undo);
      const { stdout } = await host.run(
        `id ${LOGIN} 2>&1; cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/10*`,
      );
      assert.match(stdout, /no such user/);
      assert.doesNotMatch(stdout, /PermitOpen|MaxSessions/);
    });

    it(`keeps the list that is in force when sshd refuses another (${openssh})`, async () => {
      const host = new Host();
      const { Apply } = await host.render(openssh, '10.0.0.5:443');
      await host.run(Apply);
      host.write('10-tunnel.conf', 'NoSuchKeyword yes\n');
      const { stdout, stderr } = await host.run(Apply);
      assert.match(stderr, /NoSuchKeyword/);
      assert.doesNotMatch(stdout, /systemctl/);
      assert.equal((await host.run(FORWARDING)).stdout, 'maxsessions 0\npermitopen 10.0.0.5:443\n');
    });
  }

  it('shows when a file that is read earlier lets the group forward anywhere', async () => {
    const host = new Host();
    const { Apply, Verify } = await host.render('9.2', '10.0.0.5:443');
    host.write('etc/ssh/sshd_config.d/00-other.conf', 'Match all\nPermitOpen any\n');
    await host.run(Apply);
    assert.match((await host.run(FORWARDING)).stdout, /^permitopen any$/m);
    assert.equal((await host.run(Verify)).stdout.trim().split('\n').length, 3);
  });
});
