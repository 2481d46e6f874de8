/**
 * The privileged helper: which callers it accepts, how it becomes root, and which privileges it
 * keeps.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HELPER_PATH } from '../../src/native/addon.ts';
import { HELPER_EXIT_NOT_ROOT, HELPER_EXIT_SETUP } from '../../src/system/helper/protocol.ts';
import { PASSWORD, SUDOERS, UID, USER, withEtc } from '../support/etc.ts';
import {
  CLIENT,
  HelperClient,
  type HelperNamespace,
  inNamespace,
  TESTED_HELPER,
  untilGone,
} from '../support/helperlab.ts';
import { Child, mustRun, run, SEARCH_PATH } from '../support/process.ts';
import { closedToOthers, labUnavailable } from '../support/requirements.ts';

const STRANGER = fileURLToPath(new URL('../../native-test/stranger', import.meta.url));
const skip = labUnavailable('unshare') || closedToOthers(CLIENT);
const CLIENT_END_MS = 5_000;
/** The build under sanitizers has none. */
const HAS_FILTER = TESTED_HELPER === HELPER_PATH;
const CAP_NET_ADMIN_ONLY = '0000000000001000';

let directory = '';

before(() => {
  if (skip !== false) return;
  directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
  chmodSync(directory, 0o755);
});

after(() => {
  if (directory !== '') rmSync(directory, { recursive: true });
});

const as = (...argv: string[]) => [
  'setpriv',
  `--reuid=${UID}`,
  `--regid=${UID}`,
  '--clear-groups',
  '--',
  ...argv,
];

/** Starts the helper directly; returns its status and message. */
async function helper(path: string, env: Record<string, string> = {}) {
  const { status, stderr } = await run([TESTED_HELPER, path], {
    env: { PATH: SEARCH_PATH, ...env },
  });
  return { status, stderr: stderr.trim() };
}

/** Makes a directory for a socket, correct except for `mode` and `uid`. */
function socketDirectory(name: string, mode = 0o700, uid = 0): string {
  const path = join(directory, name);
  mkdirSync(path);
  chownSync(path, uid, uid);
  chmodSync(path, mode);
  return path;
}

describe('helper: its callers', { skip }, () => {
  it('refuses a directory that is open to others, or is not the caller’s', () =>
    inNamespace([], async (namespace) => {
      const client = await namespace.client();
      for (const [name, mode, uid, objection] of [
        ['open', 0o755, 0, /mode isn't 0700/],
        ['group', 0o710, 0, /mode isn't 0700/],
        ['sticky', 0o1700, 0, /mode isn't 0700/],
        ['foreign', 0o700, UID, /directory isn't the caller's/],
      ] as const) {
        const path = join(socketDirectory(name, mode, uid), 'helper');
        await client.must('listen', path);
        const { status, stderr } = await helper(path);
        assert.equal(status, HELPER_EXIT_SETUP, name);
        assert.match(stderr, objection);
        assert.equal(stderr.split('\n').length, 1);
      }
    }));

  it('refuses a directory behind a symbolic link, and a file that is not a socket', () =>
    inNamespace([], async (namespace) => {
      const client = await namespace.client();
      const real = socketDirectory('real');
      await client.must('listen', join(real, 'helper'));
      symlinkSync(real, join(directory, 'link'));
      assert.equal((await helper(join(directory, 'link', 'helper'))).status, HELPER_EXIT_SETUP);

      writeFileSync(join(real, 'file'), '');
      assert.match((await helper(join(real, 'file'))).stderr, /not a socket/);
      symlinkSync(join(real, 'helper'), join(real, 'alias'));
      assert.match((await helper(join(real, 'alias'))).stderr, /not a socket/);
      assert.match((await helper('helper')).stderr, /not an absolute path/);
      assert.match((await helper(join(real, 'missing'))).stderr, /No such file/);
    }));

  it('refuses another user’s socket, and another user’s listening process', () =>
    inNamespace([], async (namespace) => {
      const client = await namespace.client();
      const path = join(socketDirectory('listener', 0o700, UID), 'helper');
      await client.must('listen', path);
      const env = { SUDO_UID: String(UID) };
      assert.match((await helper(path, env)).stderr, /socket isn't the caller's/);
      chownSync(path, UID, UID);
      assert.match(
        (await helper(path, env)).stderr,
        /process that listens there isn't the caller's/,
      );
    }));

  it('refuses a caller that is not a user', async () => {
    const path = join(socketDirectory('nobody'), 'helper');
    for (const text of ['', '-1', '0x10', '10 ', '4294967295', '99999999999999999999']) {
      assert.match((await helper(path, { SUDO_UID: text })).stderr, /SUDO_UID names no user/, text);
    }
    assert.match(
      (await helper(path, { DOAS_USER: 'no-such-user' })).stderr,
      /DOAS_USER names no user/,
    );
  });

  it('says so when it is not root, or is called in the wrong way', async () => {
    const result = await run(as(TESTED_HELPER, '/nowhere'), { env: { PATH: SEARCH_PATH } });
    assert.equal(result.status, HELPER_EXIT_NOT_ROOT);
    assert.match(result.stderr, /^tunnel-helper: not root: .*\n$/);
    const { status, stderr } = await run([TESTED_HELPER]);
    assert.equal(status, HELPER_EXIT_SETUP);
    assert.match(stderr, /usage/);
  });
});

describe('helper: the program’s end of the link', { skip }, () => {
  it('refuses peers that are not root, and goes on waiting', () =>
    inNamespace([], async (namespace) => {
      const client = await namespace.client();
      const place = socketDirectory('waiting');
      const path = join(place, 'helper');
      await client.must('listen', path);
      chmodSync(place, 0o755);
      chmodSync(path, 0o777);
      for (let attempt = 0; attempt < 3; attempt++) {
        const { stdout } = await run([STRANGER, path, String(UID)]);
        assert.equal(stdout, 'closed\n');
      }
      const peer = await Child.start([STRANGER, path, '0']);
      const { message } = (await client.must('answer')) as { message?: { type: string } };
      assert.equal(message?.type, 'hello');
      assert.equal((await run([STRANGER, path, '0'])).stdout, 'connect: Connection refused\n');
      await peer.stop('SIGKILL');
      assert.deepEqual(await client.must('answer'), { end: 0 });
    }));
});

describe('helper: becoming root', { skip }, () => {
  for (const [name, programs, files] of [
    [
      'sudo',
      ['sudo'],
      { sudoers: `${SUDOERS}Defaults !use_pty\n${USER} ALL=(root) NOPASSWD: ${TESTED_HELPER}\n` },
    ],
    [
      'sudo with use_pty',
      ['sudo'],
      { sudoers: `${SUDOERS}Defaults use_pty\n${USER} ALL=(root) NOPASSWD: ${TESTED_HELPER}\n` },
    ],
    [
      'doas',
      ['doas'],
      { sudoers: SUDOERS, 'doas.conf': `permit nopass ${USER} as root cmd ${TESTED_HELPER}\n` },
    ],
  ] as const) {
    it(
      `as a user, through ${name}, without a terminal`,
      { skip: labUnavailable(...programs) },
      () =>
        inNamespace([], async (namespace) => {
          const before = await namespace.state();
          const etc = withEtc(directory, files);
          const search = name === 'doas' ? [`PATH=${onlyDoas()}`] : [];
          const client = await namespace.client((argv) => [
            'setsid',
            ...etc([...argv.slice(0, 4), ...as('env', ...search, ...argv.slice(4))]),
          ]);
          const pid = await client.start();
          const device = await client.create();
          await client.must('routes', '10.0.0.0/8', '2001:db8::/32');
          assert.deepEqual((await namespace.routes(device.name)).slice(0, 1), ['10.0.0.0/8']);
          assert.match(await namespace.ip(`link show dev ${device.name}`), / qlen 8192\b/);

          const status = readFileSync(`/proc/${pid}/status`, 'utf8');
          assert.match(status, /^Uid:\s0\s0\s0\s0$/m);
          assert.match(status, /^Gid:\s0\s0\s0\s0$/m);
          assert.match(status, /^Groups:\s*$/m);
          if (HAS_FILTER) assert.match(status, /^Seccomp:\s2$/m);
          assert.match(status, new RegExp(`^CapEff:\\s${CAP_NET_ADMIN_ONLY}$`, 'm'));
          assert.match(status, new RegExp(`^CapPrm:\\s${CAP_NET_ADMIN_ONLY}$`, 'm'));
          assert.match(status, /^CapBnd:\s0+$/m);
          assert.match(status, /^NoNewPrivs:\s1$/m);

          client.child.kill('SIGKILL');
          await client.child.exited;
          await namespace.becomes(before);
          await untilGone(pid);
        }),
    );
  }

  it(
    'fails with sudo’s own message when a password is needed and there is no terminal',
    { skip: labUnavailable('sudo') },
    () =>
      inNamespace([], async (namespace) => {
        const etc = withEtc(directory, {
          sudoers: `${SUDOERS}${USER} ALL=(root) ${TESTED_HELPER}\n`,
        });
        const client = await namespace.client((argv) => [
          'setsid',
          ...etc([...argv.slice(0, 4), ...as(...argv.slice(4))]),
        ]);
        const error = await client.fails('start', TESTED_HELPER);
        assert.equal(error.code, 'capture-privileges');
        assert.match(error.message, /^sudo did not start the helper: .*password/);
        assert.deepEqual(leftovers(), []);
      }),
  );

  it('fails when there is neither sudo nor doas', () =>
    inNamespace([], async (namespace) => {
      const client = await namespace.client((argv) => [
        ...argv.slice(0, 4),
        ...as('env', 'PATH=/nowhere', ...argv.slice(4)),
      ]);
      const error = await client.fails('start', TESTED_HELPER);
      assert.equal(error.code, 'capture-privileges');
      assert.match(error.message, /neither sudo nor doas/);
    }));

  const terminal = labUnavailable('sudo', 'script', 'openssl');

  for (const use of ['use_pty', '!use_pty'] as const) {
    it(`asks at the terminal and leaves it unchanged (${use})`, { skip: terminal }, () =>
      inNamespace([], (namespace) =>
        atTerminal(namespace, use, async (client) => {
          const started = client.ask('start', TESTED_HELPER);
          await client.child.waitForLine(/password for tunneltest: /);
          client.child.write(`${PASSWORD}\n`);
          const { result, error } = await started;
          assert.equal(error, undefined);
          const { pid } = result as { pid: number };
          // Leader of a session of its own, without a terminal (proc_pid_stat(5)).
          const [, , , session, tty] = readFileSync(`/proc/${pid}/stat`, 'utf8')
            .replace(/.*\) /, '')
            .split(' ');
          assert.deepEqual([Number(session), Number(tty)], [pid, 0]);
          const device = await client.create();
          await client.must('routes', '10.0.0.0/8');
          assert.ok((await namespace.routes(device.name)).includes('10.0.0.0/8'));
          await client.must('close');
        }),
      ),
    );
  }

  it('can be stopped while sudo asks', { skip: terminal }, () =>
    inNamespace([], (namespace) =>
      atTerminal(namespace, 'use_pty', async (client) => {
        const error = await client.fails('start-until', '500', TESTED_HELPER);
        assert.match(error.message, /timeout/);
        assert.match(client.child.stdout, /password for tunneltest: /);
        assert.deepEqual(leftovers(), []);
      }),
    ),
  );
});

/**
 * A client with a pty as its terminal, as a user who must give sudo a password. It ends when `body`
 * does; the terminal's settings must then be as before.
 */
async function atTerminal(
  namespace: HelperNamespace,
  use: 'use_pty' | '!use_pty',
  body: (client: HelperClient) => Promise<void>,
): Promise<void> {
  const etc = withEtc(directory, {
    sudoers: `${SUDOERS}Defaults ${use}\n${USER} ALL=(root) ${TESTED_HELPER}\n`,
  });
  // sudo uses the terminal; the client's requests come through a pipe.
  const commands = join(mkdtempSync(join(directory, 'pipe-')), 'commands');
  await mustRun(['mkfifo', '-m', '600', commands]);
  chownSync(commands, UID, UID);
  chmodSync(join(commands, '..'), 0o755);
  const inner = `stty -g; '${process.execPath}' '${CLIENT}' '${commands}'; stty -g`;
  const inside = [
    'ip',
    'netns',
    'exec',
    namespace.name,
    ...as('script', '-qec', inner, '/dev/null'),
  ];
  const child = await Child.start(etc(inside), {
    stdin: 'open',
    env: { PATH: SEARCH_PATH, LANG: 'C' },
  });
  const fd = openSync(commands, 'r+');
  try {
    const client = new HelperClient(child, (line) => writeSync(fd, line));
    namespace.adopt(client);
    await body(client);
  } finally {
    // The client's input ends, and the client with it.
    closeSync(fd);
  }
  assert.equal((await child.wait(CLIENT_END_MS)).status, 0);
  const settings = child.stdout.match(/^[0-9a-f]+(:[0-9a-f]+){10,}\r?$/gm);
  assert.equal(settings?.length, 2);
  assert.equal(settings[0], settings[1]);
}

/** A PATH with doas and without sudo. */
function onlyDoas(): string {
  const path = mkdtempSync(join(directory, 'bin-'));
  chmodSync(path, 0o755);
  const doas = SEARCH_PATH.split(':').find(
    (entry) => spawnSync('test', ['-x', join(entry, 'doas')]).status === 0,
  );
  symlinkSync(join(doas ?? '/usr/bin', 'doas'), join(path, 'doas'));
  return path;
}

/** The socket directories of helpers that are still there. That of `tunnel status` is another. */
function leftovers(): string[] {
  const found = spawnSync('find', [tmpdir(), '-maxdepth', '1', '-uid', String(UID)], {
    encoding: 'utf8',
  });
  const ofStatus = join(tmpdir(), `tunnel-${UID}`);
  return found.stdout.split('\n').filter((line) => line !== '' && line !== ofStatus);
}

describe('helper: without a TUN', { skip }, () => {
  for (const [what, script, hint] of [
    ['no device node', 'mount -t tmpfs none /dev/net', /mknod \/dev\/net\/tun c 10 200/],
    ['no driver', 'mount -t tmpfs none /dev/net && mknod /dev/net/tun c 10 249', /modprobe tun/],
  ] as const) {
    it(`says so: ${what}`, () =>
      inNamespace([], async (namespace) => {
        const state = await namespace.state();
        const client = await namespace.client((argv) => [
          'unshare',
          '-m',
          'sh',
          '-c',
          `${script} && exec "$@"`,
          'sh',
          ...argv,
        ]);
        await client.start();
        const error = await client.fails('create', 'true', 'true', '1500');
        assert.equal(error.code, 'capture-no-tun');
        assert.match(error.hint ?? '', hint);
        assert.equal(await namespace.state(), state);
      }));
  }

  it('says so when root has no CAP_NET_ADMIN, as in a container', () =>
    inNamespace([], async (namespace) => {
      const client = await namespace.client((argv) => [
        ...argv.slice(0, 4),
        'setpriv',
        '--bounding-set=-net_admin',
        '--inh-caps=-net_admin',
        '--',
        ...argv.slice(4),
      ]);
      const error = await client.fails('start', TESTED_HELPER);
      assert.equal(error.code, 'capture-privileges');
      assert.match(error.hint ?? '', /--cap-add NET_ADMIN/);
    }));
});
