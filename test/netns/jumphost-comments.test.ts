/**
 * The comments of what `tunnel jumphost sshd` and `authorized-key` render, followed word by word on
 * a machine: applied, verified, applied again, applied with a fault, and undone. The machine is an
 * overlay of this one's root. Its accounts and sshd's files are real; systemctl is a stand-in.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { publicKeyLine } from '../support/keyscript.ts';
import { labUnavailable } from '../support/lab.ts';
import { mustRun, run } from '../support/process.ts';
import { MAIN } from '../support/tunnel.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-comments-'));
after(() => rmSync(directory, { recursive: true }));

/** $1: a directory for the root; $2: one that is /mnt there; $3: the script. */
const MACHINE = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
rm -rf etc/ssh/sshd_config* root/.ssh
mkdir etc/ssh/sshd_config.d
printf '%s\\n' 'PasswordAuthentication no' 'UsePAM yes' >etc/ssh/sshd_config
mount --bind "$2" mnt
mount --rbind /dev dev
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/sshd
printf '%s\\n' '#!/bin/sh' 'echo "systemctl $*"' >usr/bin/systemctl.new
chmod 755 usr/bin/systemctl.new
mv usr/bin/systemctl.new usr/bin/systemctl
exec chroot . /bin/sh -c '
  export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
  cd /mnt
  ssh-keygen -A >/dev/null
  exec bash -c "$1"' sh "$3"
`;

/** Runs a script there. Returns what it prints. */
async function onMachine(files: string, script: string): Promise<string> {
  const root = mkdtempSync(join(directory, 'root-'));
  const unshare = ['unshare', '--mount', '--pid', '--fork', '--kill-child'];
  const { stdout, stderr } = await run([
    ...unshare,
    'sh',
    '-c',
    MACHINE,
    'sh',
    root,
    files,
    script,
  ]);
  return `${stdout}${stderr}`;
}

async function render(name: string, ...args: readonly string[]): Promise<string> {
  const output = join(directory, name);
  await mustRun([process.execPath, MAIN, 'jumphost', ...args, '--output', output, '10.0.0.5:443']);
  return output;
}

/** The commands below a line of the comment, up to the next paragraph. */
function commands(file: string, below: string): string {
  const text = readFileSync(file, 'utf8');
  const begin = text.indexOf(`\n# ${below}`);
  assert.notEqual(begin, -1, `${file} has no ${below}`);
  const [paragraph = ''] = text.slice(begin + 1).split(/\n(?!# .)/);
  const lines = paragraph.split('\n').filter((line) => line.startsWith('#   '));
  return lines.map((line) => line.slice(4)).join('\n');
}

const skip = labUnavailable('unshare', 'useradd', 'pkill');

describe('the comment of the drop-in, word by word', { skip, timeout: 60_000 }, () => {
  for (const [what, user, openssh] of [
    ['a drop-in', 'tunnel', '9.2'],
    ['a drop-in for another login', 'gate', '9.2'],
    ['the text before that of sshd_config', 'tunnel', '8.2'],
  ] as const) {
    it(`${what} is applied, verified, applied again and undone`, async () => {
      const args = ['--user', user, '--openssh', openssh];
      const output = await render(`${user}-${openssh}`, 'sshd', ...args);
      const dropIn = join(output, '10-tunnel.conf');
      const apply = commands(dropIn, 'Apply, as root:');
      // The last command is for a client.
      const verify = commands(dropIn, 'Verify:').replace(/\n.*THIS-HOST.*/, '');
      // The line that includes drop-ins stays: others may be there by then.
      const state = 'grep -v ^Include /etc/ssh/sshd_config; ls /etc/ssh /etc/ssh/sshd_config.d';
      const said = await onMachine(
        output,
        `before=$(${state})
        ${apply}
        ${verify}
        echo again
        sed -i s/10.0.0.5:443/10.0.0.6:443/ 10-tunnel.conf
        ${apply}
        ${verify}
        echo faulty
        sed -i '/^Match Group/i Nonsense yes' 10-tunnel.conf
        ${apply}
        ${verify}
        echo undone
        ${commands(dropIn, 'Undo, as root:')}
        diff <(echo "$before") <(${state})
        getent group tunnel; getent passwd ${user}
        sshd -t`,
      );
      const reload = 'systemctl try-reload-or-restart ssh';
      const shown = (port: string) => [
        'maxsessions 0',
        'allowtcpforwarding local',
        `permitopen ${port}`,
      ];
      const lines = said.split('\n').filter((line) => !/mail spool|^$/.test(line));
      assert.deepEqual(
        lines.filter((line) => !/Nonsense|bad configuration/.test(line)),
        [
          ...[reload, ...shown('10.0.0.5:443'), 'again', reload, ...shown('10.0.0.6:443')],
          ...['faulty', ...shown('10.0.0.6:443'), 'undone', reload],
        ],
      );
      assert.match(said, /Bad configuration option: Nonsense/);
    });
  }
});

describe('the comment of authorized_keys, word by word', { skip, timeout: 60_000 }, () => {
  const other = publicKeyLine('other');
  async function rendered(): Promise<{ output: string; file: string }> {
    const keys = join(directory, 'team.pub');
    writeFileSync(keys, `${publicKeyLine('alice')}\n${publicKeyLine('bob')}\n`);
    const name = mkdtempSync(join(directory, 'keys-')).replace(`${directory}/`, '');
    const output = await render(`${name}/out`, 'authorized-key', '--key', keys, '--user', 'gate');
    return { output, file: join(output, 'authorized_keys') };
  }

  it('adds a line for each key to the file of an account, and takes them away', async () => {
    const { output, file } = await rendered();
    const said = await onMachine(
      output,
      `useradd --create-home gate
      mkdir ~gate/.ssh
      printf %s '${other}' >~gate/.ssh/authorized_keys   # its last line doesn't end
      ${commands(file, 'Apply, as root')}
      ${commands(file, 'Verify:').replace(/\n.*THIS-HOST.*/, '')}
      stat -c '%U %a' ~gate/.ssh ~gate/.ssh/authorized_keys
      echo undone
      ${commands(file, 'Undo')}
      ssh-keygen -l -f ~gate/.ssh/authorized_keys`,
    );
    assert.deepEqual(
      said.split('\n').map((line) => line.replace(/^.*(alice|bob|other).*$/, '$1')),
      ['other', 'alice', 'bob', 'gate 700', 'gate 600', 'undone', 'other', ''],
    );
  });

  it('says how without root', async () => {
    const { output, file } = await rendered();
    const own = commands(file, 'Without root');
    const said = await onMachine(
      output,
      `useradd --create-home gate
      chmod 644 authorized_keys
      su gate -s /bin/sh -c '${own}'
      ssh-keygen -l -f ~gate/.ssh/authorized_keys
      stat -c '%U %a' ~gate/.ssh ~gate/.ssh/authorized_keys`,
    );
    assert.deepEqual(
      said.split('\n').map((line) => line.replace(/^.*(alice|bob).*$/, '$1')),
      ['alice', 'bob', 'gate 700', 'gate 600', ''],
    );
  });
});
