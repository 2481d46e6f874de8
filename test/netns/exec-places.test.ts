/**
 * `tunnel exec` in unusual environments: where namespaces are refused, in a container, while the
 * link is lost.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  API1,
  CLIENT4,
  JUMPHOST_PRIVATE4,
  Port,
  PRIVATE4,
  UPLINK4,
  UplinkPort,
} from '../support/addresses.ts';
import { ExecLab, NO_USER_NAMESPACES } from '../support/execlab.ts';
import { labUnavailable } from '../support/lab.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN } from '../support/tunnel.ts';

const PYTHON = '/usr/bin/python3';
const TARGET = `http://${API1}/`;
const BESIDE = `http://${UPLINK4}:${UplinkPort.peer}/`;
const FETCH =
  'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())';
const OUTAGE_MS = 1_500;

/**
 * The environment of a container, except its system call filters: its own root (pivot_root(2), not
 * chroot(2), in which user namespaces are refused), its own /proc, process, host name and IPC
 * namespaces, and no way to gain privileges.
 */
const IN_A_CONTAINER = `exec unshare --mount --pid --fork --uts --ipc sh -ec '
mount --make-rprivate /
root=$(mktemp -d)
mount --rbind / "$root"
cd "$root"
pivot_root . mnt
cd /
umount -l /mnt
rmdir "$root"
mount -t proc proc /proc
exec setpriv --no-new-privs -- "$@"' sh "$@"`;

describe('exec in other places', {
  skip: labUnavailable('openssl', 'unshare', 'curl', 'python3') || closedToOthers(MAIN),
}, () => {
  let exec: ExecLab;
  before(async () => {
    exec = await ExecLab.create();
    await exec.startUplinkServer();
  });
  after(async () => {
    await exec?.close();
  });

  const peerOf = (json: string): string => JSON.parse(json).peer;

  it('gives the command proxies where namespaces are refused, and says so', async () => {
    const commands = [
      `curl -sS ${TARGET}`,
      `${PYTHON} -c '${FETCH}' ${TARGET}`,
      `curl -sS --http0.9 -p ${BESIDE}`,
      `curl -sS -o /dev/null -w '%{http_code}\\n' http://${API1}:${Port.closed}/`,
      'env | grep -i ^no_proxy= | sort',
      'readlink /proc/self/ns/net /proc/$PPID/ns/net | uniq | wc -l',
      'exit 7',
    ];
    const { status, stdout, stderr } = await exec.exec(
      [PRIVATE4, '--', 'sh', '-c', commands.join('\n')],
      {
        script: NO_USER_NAMESPACES,
        env: { NO_PROXY: 'intern.example', ALL_PROXY: 'socks5://127.0.0.1:9' },
      },
    );
    const [first = '', second = '', ...rest] = stdout.split('\n').filter((line) => line !== '');
    assert.equal(peerOf(first), JUMPHOST_PRIVATE4, stderr);
    assert.equal(peerOf(second), JUMPHOST_PRIVATE4, stderr);
    const exceptions = 'intern.example,localhost,127.0.0.1,::1';
    assert.deepEqual(rest, [
      CLIENT4,
      '502',
      `NO_PROXY=${exceptions}`,
      `no_proxy=${exceptions}`,
      '1',
    ]);
    assert.match(stderr, /^tunnel: warning: .*max_user_namespaces is 0.*proxy variables instead/);
    assert.match(stderr, /network of its own: .*sysctl user\.max_user_namespaces=/);
    assert.equal(status, 7);
  });

  it('lets no other user use these proxies, unless they are shared', async () => {
    for (const [options, expected] of [
      [[], /^403$/],
      [['--proxy-shared'], /^200$/],
    ] as const) {
      const command = await exec.spawn(
        [...options, PRIVATE4, '--', 'sh', '-c', 'echo at $http_proxy; read line'],
        { script: NO_USER_NAMESPACES, stdin: 'open' },
      );
      const [, proxy = ''] = await command.waitForLine(/at (http:\S+)\n/);
      const other = ['setpriv', '--reuid=65534', '--clear-groups', 'curl', '-s', '-o', '/dev/null'];
      const { stdout } = await exec.lab.client.exec([
        ...other,
        ...['-w', '%{http_code}', '--proxy', proxy, TARGET],
      ]);
      assert.match(stdout, expected);
      command.write('end\n');
      assert.deepEqual(await command.wait(15_000), { status: 0, signal: null }, command.stderr);
    }
  });

  it('returns the command’s status there, too', async () => {
    const run = (...command: string[]) =>
      exec.exec([PRIVATE4, '--', ...command], { script: NO_USER_NAMESPACES });
    assert.equal((await run('no-such-command')).status, 127);
    assert.equal((await run('/etc/passwd')).status, 126);
    assert.equal((await run('sh', '-c', 'kill -TERM $$')).status, 143);
  });

  it('works in a container, with namespaces', async () => {
    const script = `curl -sS ${TARGET}; curl -sS --http0.9 ${BESIDE}; cat /etc/resolv.conf; env | grep -ci _proxy`;
    const { stdout, stderr } = await exec.exec(['--isolate', PRIVATE4, '--', 'sh', '-c', script], {
      script: IN_A_CONTAINER,
    });
    const [first = '', ...rest] = stdout.split('\n').filter((line) => line !== '');
    assert.equal(peerOf(first), JUMPHOST_PRIVATE4, stderr);
    assert.match(rest.join('\n'), /nameserver 198\.18\.0\.53\n0$/);
    assert.match(stderr, /^curl: \(7\) [^\n]*\n$/);
  });

  it('keeps the command’s connects waiting while the link is lost', async () => {
    const fetch = `curl -sS -m 30 ${TARGET}`;
    const command = await exec.spawn(
      [PRIVATE4, '--', 'sh', '-c', `${fetch}; read line; ${fetch}; echo end`],
      {
        stdin: 'open',
      },
    );
    await command.waitForLine(/"host":"api1".*\n/);
    await exec.lab.sshd?.kill();
    command.write('go on\n');
    await sleep(OUTAGE_MS);
    assert.equal(command.ended, undefined, command.stderr);
    assert.doesNotMatch(command.stdout, /end/);
    await exec.lab.sshd?.start();
    assert.deepEqual(await command.wait(15_000), { status: 0, signal: null }, command.stderr);
    const [first = '', second = '', end] = command.stdout.split('\n');
    assert.deepEqual(
      [peerOf(first), peerOf(second), end],
      [JUMPHOST_PRIVATE4, JUMPHOST_PRIVATE4, 'end'],
    );
    assert.match(command.stderr, /link lost: [\s\S]*reconnected after/);
  });
});
