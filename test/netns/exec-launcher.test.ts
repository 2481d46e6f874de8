/**
 * The launcher alone: how it handles messages, descriptors and the files that it covers.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { addon, LAUNCHER_PATH } from '../../src/native/addon.ts';
import { startLauncher } from '../../src/system/launcher/launcher.ts';
import {
  decodeLauncherMessage,
  encodeGo,
  encodeSetup,
  encodeSetupInPlace,
  LAUNCHER_STEP,
  LAUNCHER_VERSION,
  type LauncherMessage,
} from '../../src/system/launcher/protocol.ts';
import { PRIVATE4 } from '../support/addresses.ts';
import { ExecLab, TESTED_LAUNCHER } from '../support/execlab.ts';
import { labUnavailable } from '../support/lab.ts';
import { mustRun, SEARCH_PATH } from '../support/process.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN } from '../support/tunnel.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
/** Generous: this doesn't test a compiler on a busy machine. */
const COMPILER_TIMEOUT_MS = 300_000;

const SETUP = {
  isolate: false,
  mtu: 1500,
  address4: '198.18.0.1',
  address6: '2001:2::1',
  descriptors: undefined,
  resolvConf: 'nameserver 198.18.0.53\n',
} as const;

interface Conversation {
  readonly messages: LauncherMessage[];
  readonly descriptors: number;
  readonly status: number | null;
}

interface Surroundings {
  /** A program that runs the launcher. */
  readonly wrap?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs a launcher as root and sends it these messages one after the other; then nothing more. */
async function converse(
  sent: readonly Uint8Array[],
  command: readonly string[] = [],
  { wrap = [], env = {} }: Surroundings = {},
): Promise<Conversation> {
  const messages: LauncherMessage[] = [];
  let descriptors = 0;
  let ended: () => void = () => {};
  const end = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const { link, fd } = addon().linkPair((bytes, received) => {
    if (received !== -1) {
      descriptors += 1;
      closeSync(received);
    }
    const message = bytes === null ? undefined : decodeLauncherMessage(bytes);
    if (message !== undefined) messages.push(message);
    if (bytes === null) ended();
  });
  const [program = '', ...args] = [...wrap, TESTED_LAUNCHER ?? LAUNCHER_PATH, '3', ...command];
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'inherit', fd],
    env: { PATH: SEARCH_PATH, HOME: '/root', ...env },
  });
  closeSync(fd);
  const exited = once(child, 'exit');
  for (const message of sent) addon().linkSend(link, message);
  addon().linkShutdown(link);
  await end;
  const [status] = (await exited) as [number | null];
  addon().linkClose(link);
  return { messages, descriptors, status };
}

function bent(message: Uint8Array, offset: number, value: number): Uint8Array {
  const copy = Uint8Array.from(message);
  copy[offset] = value;
  return copy;
}

const skip = labUnavailable('openssl', 'unshare') || closedToOthers(MAIN);

describe('launcher', { skip }, () => {
  let exec: ExecLab;
  before(async () => {
    exec = await ExecLab.create();
  });
  after(async () => {
    await exec?.close();
  });

  it('hands over a device, and ends when it is a probe', async () => {
    const { messages, descriptors, status } = await converse([encodeSetup(SETUP)]);
    assert.deepEqual(
      messages.map(({ type }) => type),
      ['descriptor', 'ready'],
    );
    const ready = messages.at(-1);
    assert.ok(ready?.type === 'ready' && ready.hasIPv6);
    assert.equal(descriptors, 1);
    assert.equal(status, 0);
  });

  it('takes the device along when it is lost, and that is what is said then', async () => {
    const launcher = await startLauncher({ command: ['true'], setup: SETUP });
    launcher.command.kill('SIGKILL');
    const error = await launcher.ended;
    assert.equal(error?.code, 'launcher-failed');
    assert.throws(
      () => launcher.takeTun(),
      (thrown) => thrown === error,
    );
  });

  it('runs nothing when the program ends before GO', async () => {
    assert.equal((await converse([encodeSetup(SETUP)], ['true'])).status, 125);
    const { messages, status } = await converse(
      [encodeSetup(SETUP), encodeGo()],
      ['sh', '-c', 'exit 3'],
    );
    assert.equal(messages.at(-1)?.type, 'ready');
    assert.equal(status, 3);
  });

  it('changes the environment of the command as requested', async () => {
    const script = 'test "$A" = b=c && test -z "$HOME" && exit 5';
    const go = encodeGo({ A: 'b=c', HOME: undefined });
    assert.equal((await converse([encodeSetup(SETUP), go], ['sh', '-c', script])).status, 5);
    assert.equal((await converse([encodeSetupInPlace(SETUP), go], ['sh', '-c', script])).status, 5);
    // The final NUL is missing.
    const cut = bent(go, 8, go.length - 1).subarray(0, -1);
    const { messages, status } = await converse([encodeSetup(SETUP), cut], ['sh', '-c', script]);
    assert.equal(messages.at(-1)?.type, 'failed');
    assert.equal(status, 125);
  });

  it('makes no namespaces in place', async () => {
    const { messages, descriptors, status } = await converse([encodeSetupInPlace(SETUP)]);
    assert.deepEqual(messages, [
      {
        type: 'ready',
        device: '',
        hasResolvConf: true,
        hasIPv6: false,
        user: { uid: process.getuid?.(), gid: process.getgid?.() },
      },
    ]);
    assert.equal(descriptors, 0);
    assert.equal(status, 0);
  });

  for (const [what, message] of [
    ['an empty message', new Uint8Array(1)],
    ['another magic number', bent(encodeSetup(SETUP), 0, 1)],
    ['another version', bent(encodeSetup(SETUP), 4, 9)],
    ['another type', encodeGo()],
    ['a length that is not its own', bent(encodeSetup(SETUP), 8, 1)],
    ['unknown flags', bent(encodeSetup(SETUP), 12, 0xff)],
    ['an MTU that is too small', encodeSetup({ ...SETUP, mtu: 1279 })],
    ['a text longer than the message', bent(encodeSetup(SETUP), 44, 0xff)],
    ['a text shorter than the message', bent(encodeSetup(SETUP), 44, 1)],
    ['more than there is room for', new Uint8Array(20_000)],
  ] as const) {
    it(`refuses ${what}`, async () => {
      const { messages, status, descriptors } = await converse([message]);
      const [failed] = messages;
      assert.ok(failed?.type === 'failed' && failed.step === LAUNCHER_STEP.request);
      assert.equal(messages.length, 1);
      assert.equal(descriptors, 0);
      assert.equal(status, 125);
    });
  }

  const SHOW =
    'cat /etc/resolv.conf; ls -A /run/systemd/resolve /run/nscd /run/avahi-daemon | tr "\\n" " "';
  const SERVICES = `mount -t tmpfs tmpfs /run && cd /run && mkdir -p systemd/resolve nscd avahi-daemon &&
    echo nameserver 192.0.2.53 >systemd/resolve/stub-resolv.conf && touch systemd/resolve/io.systemd.Resolve nscd/socket avahi-daemon/socket`;
  /** All tests share the lab's copy of /etc. */
  const OWN_ETC =
    'mount -t tmpfs -o mode=755 tmpfs /mnt && cp -a /etc /mnt && mount --bind /mnt/etc /etc';
  const LINKED = `${OWN_ETC} && ${SERVICES} && rm /etc/resolv.conf && ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf && cd / && exec "$@"`;

  it('covers resolv.conf with its own, and hides the services that resolve names', async () => {
    const { stdout, stderr } = await exec.exec([PRIVATE4, '--', 'sh', '-c', SHOW], {
      script: `${SERVICES} && cd / && exec "$@"`,
    });
    assert.equal(stderr, '');
    assert.match(stdout, /^nameserver 198\.18\.0\.53\n/m);
    assert.match(
      stdout,
      /\/run\/avahi-daemon: socket {2}\/run\/nscd: {2}\/run\/systemd\/resolve: $/m,
    );
  });

  it('covers a link to a file of systemd-resolved', async () => {
    const { stdout } = await exec.exec(['--isolate', PRIVATE4, '--', 'sh', '-c', SHOW], {
      script: LINKED,
    });
    assert.match(stdout, /^nameserver 198\.18\.0\.53\n/m);
    assert.match(
      stdout,
      /\/run\/avahi-daemon: {2}\/run\/nscd: {2}\/run\/systemd\/resolve: stub-resolv\.conf $/m,
    );
  });

  it('says so when there is no resolv.conf', async () => {
    const { stderr, status } = await exec.exec([PRIVATE4, '--', 'true'], {
      script: `${OWN_ETC} && rm /etc/resolv.conf && exec "$@"`,
    });
    assert.equal(status, 0);
    assert.match(stderr, /warning: there is no \/etc\/resolv\.conf here/);
  });

  it('keeps its resolv.conf readable whatever the umask', async () => {
    const script = 'umask 077; exec "$@"';
    const { stdout } = await exec.exec([PRIVATE4, '--', 'stat', '-c', '%a', '/etc/resolv.conf'], {
      script,
    });
    assert.equal(stdout, '644\n');
  });

  it('restores the soft limit of descriptors that Node has raised', async () => {
    // The shell is the parent whose limits Node sees.
    const argv = exec.argv([PRIVATE4, '--', 'sh', '-c', 'ulimit -Sn']);
    const { stdout } = await exec.lab.client.exec(
      ['sh', '-c', 'ulimit -Sn 1234; "$@"; exit $?', 'sh', ...argv],
      {
        env: { HOME: exec.home },
      },
    );
    assert.equal(stdout, '1234\n');
  });

  it('is not run from a place where others can replace it', async () => {
    const script = `mount -t tmpfs tmpfs /usr/local && mkdir -p /usr/local/libexec && cp /bin/false /usr/local/libexec/tunnel-launcher &&
      chmod 777 /usr/local/libexec && exec "$@"`;
    const { status, stderr } = await exec.exec([PRIVATE4, '--', 'true'], { script });
    assert.equal(status, 0);
    assert.match(stderr, /warning: \/usr\/local\/libexec\/tunnel-launcher is not used/);
  });

  it('is not run if it is of another version', { skip: labUnavailable('cc', 'make') }, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
    try {
      const sources = join(directory, 'native');
      cpSync(join(ROOT, 'native'), sources, { recursive: true, dereference: true });
      const header = join(sources, 'launcher/protocol.h');
      const text = readFileSync(header, 'utf8');
      const version = `#define LAUNCHER_VERSION ${LAUNCHER_VERSION}u`;
      assert.ok(text.includes(version));
      writeFileSync(header, text.replace(version, `#define LAUNCHER_VERSION 999u`));
      const newer = join(directory, 'bin/tunnel-launcher');
      const made = [newer, `OUT=${join(directory, 'bin')}`, 'HEADERS='];
      await mustRun(['make', '-s', '-C', sources, ...made], { timeout: COMPILER_TIMEOUT_MS });
      const installed = '/usr/local/libexec/tunnel-launcher';
      const script = `mount -t tmpfs -o mode=755 tmpfs /usr/local && mkdir -p /usr/local/libexec &&
        cp ${newer} ${installed} && exec "$@"`;
      const { status, stderr } = await exec.exec([PRIVATE4, '--', 'true'], { script });
      assert.equal(status, 0, stderr);
      const warned = `warning: ${installed} is not used: ${installed} speaks version 999 `;
      assert.ok(stderr.includes(warned), stderr);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('is run from where an administrator has installed it', async () => {
    const script = `mount -t tmpfs -o mode=755 tmpfs /usr/local && mkdir -p /usr/local/libexec &&
      cp /bin/false /usr/local/libexec/tunnel-launcher && exec "$@"`;
    const { status, stderr } = await exec.exec([PRIVATE4, '--', 'true'], { script });
    assert.equal(status, 125);
    assert.match(stderr, /error \[launcher-failed\]/);
  });
});

describe('the launcher under sudo', { skip: labUnavailable('strace', 'setpriv') }, () => {
  it('asks the user database before it has another network', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
    try {
      const trace = join(directory, 'trace');
      const { messages } = await converse([encodeSetup(SETUP)], [], {
        wrap: ['strace', '-f', '-e', 'trace=openat,connect,unshare,setresuid', '-o', trace],
        env: { SUDO_UID: '1', SUDO_GID: '1' },
      });
      assert.equal(messages.at(-1)?.type, 'ready');
      const calls = readFileSync(trace, 'utf8').split('\n');
      const unshared = calls.findIndex((call) => call.includes('unshare('));
      const asked = (call: string) => /\/etc\/(passwd|group|nsswitch)|nscd/.test(call);
      assert.ok(unshared > 0 && calls.some((call) => call.includes('setresuid(1')));
      assert.ok(calls.slice(0, unshared).some(asked));
      assert.deepEqual(calls.slice(unshared).filter(asked), []);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
