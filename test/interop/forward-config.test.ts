/**
 * The forwards of ssh_config with both transports, beside those of a real `ssh -N` with the same
 * file: what listens, once, and by whom.
 */
import assert from 'node:assert/strict';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { sshdMissing } from '../support/loopback-sshd.ts';
import { freePort, LoopbackLab, START_MS } from '../support/loopbacklab.ts';
import type { Child } from '../support/process.ts';
import { exchange, throughProxy } from '../support/socksclient.ts';

/** proc_pid_net(5): LISTEN, with the inode in the tenth column. */
const LISTENING = /^ *\d+: (\S+) \S+ 0A \S+ \S+ \S+ +\d+ +\d+ (\d+)/gm;

/** All processes below it, and itself. */
function tree(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim();
  return [pid, ...children.split(' ').filter(Boolean).map(Number).flatMap(tree)];
}

/** Where these processes listen for TCP, as the kernel writes it. */
function listeners(pids: readonly number[]): string[] {
  const inodes = new Set(
    pids.flatMap((pid) =>
      readdirSync(`/proc/${pid}/fd`).map((fd) => {
        try {
          return readlinkSync(`/proc/${pid}/fd/${fd}`);
        } catch {
          return ''; // it has just been closed
        }
      }),
    ),
  );
  const tables = ['tcp', 'tcp6'].map((name) => readFileSync(`/proc/net/${name}`, 'latin1'));
  return [...tables.join('').matchAll(LISTENING)]
    .filter(([, , inode]) => inodes.has(`socket:[${inode}]`))
    .map(([, at = '']) => at)
    .sort();
}

/** For an Include. */
const env = { X: 'x' };

function connects(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

describe('forwards of ssh_config', { skip: sshdMissing, timeout: 300_000 }, () => {
  let lab: LoopbackLab;
  let echo = 0;
  let ports: number[] = [];

  before(async () => {
    lab = await LoopbackLab.open(env);
    echo = await lab.echo();
    ports = await Promise.all(Array.from({ length: 10 }, freePort));
    writeFileSync(lab.path('known_hosts'), await lab.sshd.knownHostsLine());
  });
  afterEach(() => lab.endAll());
  after(() => lab.close());

  const ssh = async (file: readonly string[]): Promise<Child> => {
    const { userKey, user, port } = lab.sshd;
    const child = await lab.begin([
      ...['ssh', '-N', '-v', ...file, '-i', userKey, '-p', String(port)],
      ...['-o', `UserKnownHostsFile=${lab.path('known_hosts')}`, '-o', 'BatchMode=yes'],
      `${user}@127.0.0.1`,
    ]);
    await child.waitForLine(/Entering interactive session/, START_MS);
    return child;
  };
  /** It listens at a socket besides, so that it needs neither root nor a port. */
  const tunnel = (file: readonly string[], ...args: readonly string[]): Promise<Child> =>
    lab.start('connect', ...file, '-L', `${lab.path('own.sock')}:localhost:1`, ...args);

  for (const transport of ['ssh2', 'openssh']) {
    describe(`with --transport ${transport}`, () => {
      const by = ['--transport', transport, '-o', 'ExitOnForwardFailure=yes'];

      for (const [title, lines] of Object.entries({
        'ports, addresses, sections and files': [
          'LocalForward 0 localhost:80',
          'LocalForward [::1]:1 localhost:80',
          'LocalForward localhost:2 localhost:80',
          'LocalForward *:3 localhost:80',
          'DynamicForward 4',
          'Include HOME/*.conf',
          `Include "HOME/\${X}/%d/c"`,
          'Host 127.0.0.1 other',
          'LocalForward 7 db:80',
          'Host other',
          'LocalForward 8 db:80',
          'Host *',
          'LocalForward 7 db:80',
          'LocalForward 127.0.0.1:9 db:80',
        ],
        GatewayPorts: [
          'GatewayPorts yes',
          'LocalForward 0 db:80',
          'LocalForward localhost:1 db:80',
          'DynamicForward 127.0.0.1:2',
        ],
        ClearAllForwardings: ['LocalForward 0 a:1', 'DynamicForward 1', 'ClearAllForwardings yes'],
      }))
        it(`listens where ssh does: ${title}`, async () => {
          const filled = (text: string) =>
            text
              .replaceAll('HOME', lab.directory)
              .replace(/(Forward (?:\S+:)?)(\d)\b/, (_, before: string, index: string) => {
                return `${before}${ports[Number(index)]}`;
              });
          // ssh takes ${X} and %d for the names of folders, or expands them.
          const { X = '' } = env;
          for (const folder of [`\${X}/%d`, join(X, userInfo().homedir), join(X, lab.directory)]) {
            mkdirSync(lab.path(folder), { recursive: true });
            const file = join(lab.path(folder), 'c');
            writeFileSync(file, filled('LocalForward 6 a:1'), { mode: 0o600 });
          }
          writeFileSync(lab.path('a.conf'), filled('LocalForward 5 a:1'), { mode: 0o600 });
          const file = lab.configured(lines.map(filled));
          const theirs = await ssh(file);
          const expected = listeners(tree(theirs.pid));
          await theirs.stop('SIGTERM');
          const cleared = title === 'ClearAllForwardings';
          assert.equal(expected.length > 0, !cleared, theirs.stderr);
          const ours = await tunnel(file, ...by, ...(cleared ? ['--listen', '127.0.0.1:0'] : []));
          const found = listeners(tree(ours.pid));
          if (cleared) assert.equal(found.length, 1);
          else assert.deepEqual(found, expected, ours.stderr);
          // Nobody but the program itself.
          assert.deepEqual(listeners([ours.pid]), found);
        });

      it('makes sockets as ssh does: their mode, and in place of those that are there', async () => {
        const path = lab.path('db.sock');
        const modeOf = () => (statSync(path).mode & 0o777).toString(8);
        for (const mask of ['0177', '0117', '0000']) {
          const file = lab.configured([
            `LocalForward ${path} localhost:80`,
            `StreamLocalBindMask ${mask}`,
            'StreamLocalBindUnlink yes',
          ]);
          const theirs = await ssh(file);
          const expected = modeOf();
          // It stands although the ssh has gone.
          await theirs.stop('SIGKILL');
          const ours = await tunnel(file, ...by);
          assert.equal(modeOf(), expected, mask);
          await ours.stop('SIGTERM');
        }
      });

      it('DynamicForward carries everything, by the allow-list', async () => {
        const [port = 0] = ports;
        const file = lab.configured([`DynamicForward 127.0.0.1:${port}`]);
        const rule = ['--allow-rule', `127.0.0.1:${echo}`];
        const child = await tunnel(file, ...by, ...rule);
        const line = `127.0.0.1:${port} -> anything, by SOCKS`;
        assert.match(child.stderr, new RegExp(`forwarding ${line}\n`));
        await exchange(await throughProxy(port, echo), 10_000);
        await assert.rejects(throughProxy(port, 1), /reply 2/);
        assert.ok((await lab.status(child.pid)).forwards.includes(line));
      });

      it('RemoteForward: nothing listens at the jump host, and one line says so', async () => {
        const [port = 0, other = 0] = ports;
        const file = lab.configured([
          `RemoteForward ${port} localhost:1`,
          `RemoteForward 127.0.0.1:${other} localhost:1`,
        ]);
        const before = (await lab.sshd.log()).length;
        const child = await tunnel(file, ...by);
        const told = `RemoteForward ${port}, 127.0.0.1:${other} is not set up`;
        assert.equal(child.stderr.split(told).length, 2, child.stderr);
        assert.deepEqual([await connects(port), await connects(other)], [false, false]);
        assert.doesNotMatch((await lab.sshd.log()).slice(before), /tcpip-forward/);
      });
    });
  }

  it('DynamicForward: a port in use is a warning, and a port for others needs a password', async () => {
    const [, port = 0] = ports;
    const inUse = `DynamicForward 127.0.0.1:${echo}`;
    const child = await tunnel(lab.configured([inUse, `DynamicForward *:${port}`]));
    assert.match(child.stderr, new RegExp(`warning: ${inUse} is not opened: .* in use`));
    assert.match(
      child.stderr,
      new RegExp(`warning: DynamicForward \\*:${port} is not opened: other machines could use`),
    );
    const file = lab.configured([inUse, 'ExitOnForwardFailure yes']);
    const words = ['connect', ...file, '-L', `${join(lab.directory, 'own')}:localhost:1`] as const;
    const ended = await lab.run(lab.words(...words));
    assert.equal(ended.status, 6, ended.stderr);
    assert.match(ended.stderr, /error \[forward-listen\]: DynamicForward/);
    const passwords = lab.path('passwords');
    writeFileSync(passwords, 'me:secret\n', { mode: 0o600 });
    const open = await lab.start(
      ...(['proxy', '--listen', '127.0.0.1:0', '--proxy-auth', passwords] as const),
      ...lab.configured([`DynamicForward 127.0.0.1:${port}`]),
    );
    await assert.rejects(throughProxy(port, echo));
    assert.match(open.stderr, /by SOCKS/);
  });
});
