/**
 * The privileged helper against its own caller: an ordinary user who may start it without a
 * password, and wants to keep the device, or to learn what root can see.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { HELPER_PATH } from '../../src/native/addon.ts';
import {
  CLIENT,
  type HelperNamespace,
  inNamespace,
  TESTED_HELPER,
  untilGone,
} from '../support/helperlab.ts';
import {
  asUser,
  etcOfUser,
  PERSIST,
  UID,
  USER,
  userClient,
  userLabMissing,
} from '../support/helperuser.ts';
import { Child, mustRun, run, SEARCH_PATH } from '../support/process.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN } from '../support/tunnel.ts';

const skip = userLabMissing || closedToOthers(CLIENT);

const CAP_SYS_RESOURCE = 1n << 24n;
/** Root has it, except in some containers. */
const MAY_RAISE_LIMITS =
  (BigInt(`0x${/^CapEff:\s(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`) &
    CAP_SYS_RESOURCE) !==
  0n;

let directory = '';
let etc: (argv: readonly string[]) => string[];

before(() => {
  if (skip !== false) return;
  directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
  chmodSync(directory, 0o755);
  etc = etcOfUser(directory);
});

after(() => {
  if (directory !== '') rmSync(directory, { recursive: true });
});

const CONNECT = `
import socket, sys, time
def connect():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.setblocking(False)
    s.connect("\\0" + sys.argv[1])
    return s
`;

/** Connects until the queue is full, and stays. */
const FLOOD = `${CONNECT}
held = []
try:
    while len(held) < 900: held.append(connect())
except BlockingIOError: print("full", flush=True)
time.sleep(60)
`;

/** Prints how many connections have been answered by their end within 2 s. */
const COUNTING = `${CONNECT}
print("begun", flush=True)
until = time.monotonic() + 2
answered, held = 0, []
while time.monotonic() < until:
    try:
        while len(held) < 64: held.append(connect())
    except BlockingIOError: pass
    left = []
    for s in held:
        try:
            s.recv(1)
            answered += 1
            s.close()
        except BlockingIOError: left.append(s)
    held = left
print(answered, flush=True)
time.sleep(60)
`;

/** Listens in the place of a helper, with a queue that is full. */
const SQUATTER = `${CONNECT}
own = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
own.bind("\\0" + sys.argv[1])
own.listen(0)
held = [connect()]
print("there", flush=True)
time.sleep(60)
`;

/** The mark of tun0's helper. */
async function markOf(namespace: HelperNamespace): Promise<string> {
  const [, mark = ''] =
    /alias (tunnel-helper \w+)/.exec(await namespace.ip('link show tun0')) ?? [];
  assert.notEqual(mark, '');
  return mark;
}

/** A program of somebody else's. */
async function stranger(namespace: HelperNamespace, program: string, mark: string): Promise<Child> {
  const child = await Child.start(
    [
      ...['ip', 'netns', 'exec', namespace.name, 'setpriv', '--reuid=65533', '--regid=65533'],
      ...['--clear-groups', '--', '/usr/bin/python3', '-c', program, mark],
    ],
    { env: { PATH: SEARCH_PATH, LANG: 'C' } },
  );
  await child.waitForLine(/^(there|full|begun)$/m, 10_000);
  return child;
}

describe('helper: a caller who wants to keep the device', { skip }, () => {
  it('can send the helper no signal', () =>
    inNamespace([], async (namespace) => {
      const client = await userClient(namespace, etc);
      const pid = await client.start();
      for (const signal of ['KILL', 'STOP', 'TERM', '0']) {
        const { status, stderr } = await run(asUser('kill', `-${signal}`, String(pid)));
        assert.notEqual(status, 0, signal);
        assert.match(stderr, /not permitted/i);
      }
      const { status } = await run(asUser('cat', `/proc/${pid}/environ`));
      assert.notEqual(status, 0);
      // It still serves.
      await client.create();
    }));

  it('loses a device that he has made persistent, however he ends', () =>
    inNamespace([], async (namespace) => {
      const before = await namespace.state();
      for (const end of ['kill', 'close'] as const) {
        const client = await userClient(namespace, etc);
        const helper = await client.start();
        const device = await client.create();
        await client.must('routes', '10.0.0.0/8');
        assert.equal(await client.must('with-device', ...PERSIST), 0);
        assert.match(await namespace.ip(`-d link show ${device.name}`), /persist on/);
        if (end === 'kill') client.child.kill('SIGKILL');
        else await client.must('close');
        await namespace.becomes(before);
        await untilGone(helper);
      }
    }));

  it('loses one that somebody has renamed', () =>
    inNamespace([], async (namespace) => {
      const before = await namespace.state();
      const client = await userClient(namespace, etc);
      await client.start();
      const device = await client.create();
      await client.must('with-device', ...PERSIST);
      await namespace.ip(`link set ${device.name} name other`);
      client.child.kill('SIGKILL');
      await namespace.becomes(before);
    }));

  it('loses what outlives a helper that root has killed, to “tunnel clean”', () =>
    inNamespace([], async (namespace) => {
      const before = await namespace.state();
      const client = await userClient(namespace, etc);
      const helper = await client.start();
      await client.create();
      await client.must('routes', '10.0.0.0/8');
      await client.must('with-device', ...PERSIST);
      process.kill(helper, 'SIGKILL');
      client.child.kill('SIGKILL');
      await untilGone(helper);
      await delay(200);
      assert.match(await namespace.ip('link show tun0'), /tun0/);
      assert.equal(
        await namespace.run(process.execPath, MAIN, 'clean'),
        'the device tun0 was removed, with its routes\n',
      );
      assert.equal(await namespace.state(), before);
      assert.equal(await namespace.run(process.execPath, MAIN, 'clean'), 'nothing to repair\n');
    }));

  it('loses it also if he takes the helper’s place and lets nobody connect', () =>
    inNamespace([], async (namespace) => {
      const before = await namespace.state();
      const client = await userClient(namespace, etc);
      const helper = await client.start();
      await client.create();
      const mark = await markOf(namespace);
      await client.must('keep-device', '/bin/sleep', '30');
      process.kill(helper, 'SIGKILL');
      client.child.kill('SIGKILL');
      await untilGone(helper);
      const squatter = await stranger(namespace, SQUATTER, mark);
      try {
        const cleaned = await namespace.run(process.execPath, MAIN, 'clean');
        assert.equal(cleaned, 'the device tun0 was removed, with its routes\n');
        assert.equal(await namespace.state(), before);
      } finally {
        await squatter.stop('SIGKILL');
      }
    }));

  it('loses it at the next start, too, which says so', () =>
    inNamespace([], async (namespace) => {
      const before = await namespace.state();
      const client = await userClient(namespace, etc);
      const helper = await client.start();
      await client.create();
      await client.must('with-device', ...PERSIST);
      process.kill(helper, 'SIGKILL');
      client.child.kill('SIGKILL');
      await untilGone(helper);
      const next = await userClient(namespace, etc);
      await next.start();
      await next.child.waitForLine(
        /^! \{"notice":"left by a tunnel that was killed: removed tun0"\}/m,
      );
      await next.must('close');
      assert.equal(await namespace.state(), before);
    }));

  it('loses one whose descriptor another process keeps', () =>
    inNamespace([], async (namespace) => {
      const before = await namespace.state();
      const client = await userClient(namespace, etc);
      const helper = await client.start();
      await client.create();
      const { pid } = (await client.must('keep-device', 'sleep', '60')) as { pid: number };
      try {
        process.kill(helper, 'SIGKILL');
        await untilGone(helper);
        client.child.kill('SIGKILL');
        await delay(200);
        assert.match(await namespace.ip('link show tun0'), /tun0/);
        assert.equal(await namespace.run(TESTED_HELPER, '--clean'), 'tun0\n');
        assert.equal(await namespace.state(), before);
        assert.equal(await namespace.run(TESTED_HELPER, '--clean'), '');
      } finally {
        process.kill(pid, 'SIGKILL');
      }
    }));

  it('takes nobody else’s: a device whose helper lives stays', () =>
    inNamespace([], async (namespace) => {
      const { client, device } = await namespace.tunnel();
      await client.must('routes', '10.0.0.0/8');
      assert.equal(await namespace.run(TESTED_HELPER, '--clean'), '');
      const other = await userClient(namespace, etc);
      await other.start();
      assert.equal((await other.create()).name, 'tun1');
      assert.match(await namespace.ip(`link show ${device.name}`), /UP/);
      assert.deepEqual((await namespace.routes(device.name)).slice(0, 1), ['10.0.0.0/8']);
    }));

  it('can’t pass for a helper by taking its name', () =>
    inNamespace([], async (namespace) => {
      const before = await namespace.state();
      const mark = 'tunnel-helper 0123456789abcdef';
      await namespace.batch([
        'link add tun0 type veth peer name tun0p',
        `link set tun0 alias "${mark}"`,
      ]);
      const squat = `import socket,time
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.bind("\\0${mark}")
s.listen(8)
print("listening", flush=True)
time.sleep(60)`;
      const enter = ['ip', 'netns', 'exec', namespace.name];
      const squatter = await Child.start([...enter, ...asUser('/usr/bin/python3', '-c', squat)], {
        env: { PATH: SEARCH_PATH, LANG: 'C' },
      });
      try {
        await squatter.waitForLine(/^listening$/m);
        assert.equal(await namespace.run(TESTED_HELPER, '--clean'), 'tun0\n');
        assert.equal(await namespace.state(), before);
      } finally {
        await squatter.stop('SIGKILL');
      }
    }));

  it('can’t have the kernel end it: limits and preferences are its own', () =>
    inNamespace([], async (namespace) => {
      const limits =
        'ulimit -t 600; ulimit -s 2048; echo 900 > /proc/self/oom_score_adj; exec "$@"';
      const client = await userClient(namespace, etc, (argv) => [
        'sh',
        '-c',
        limits,
        'sh',
        ...argv,
      ]);
      if (!MAY_RAISE_LIMITS) {
        const { code, message } = await client.fails('start', TESTED_HELPER);
        assert.equal(code, 'capture-failed');
        assert.match(message, /RLIMIT_CPU/);
        return;
      }
      const pid = await client.start();
      const text = readFileSync(`/proc/${pid}/limits`, 'utf8');
      assert.match(text, /^Max cpu time +unlimited +unlimited/m);
      assert.doesNotMatch(text, /^Max stack size +2097152/m);
      assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim(), '-1000');
    }));
});

const HIERARCHY = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find((path) =>
  existsSync(join(path, 'cgroup.controllers')),
);

/** Whether a control group can be made here, and be killed (Linux 5.14). */
function killableGroup(): string | undefined {
  if (HIERARCHY === undefined) return undefined;
  const group = join(HIERARCHY, `tunnel-test-${process.pid}`);
  try {
    mkdirSync(group);
    if (existsSync(join(group, 'cgroup.kill'))) return group;
    rmdirSync(group);
  } catch {
    // Read-only here.
  }
  return undefined;
}

describe('helper: a caller with a control group of his own', { skip }, () => {
  it('can’t end the helper with it', async (context) => {
    const group = killableGroup();
    // Known only here: containers often have no control group that may be written.
    if (group === undefined) return context.skip('no control group can be made and killed here');
    try {
      await inNamespace([], async (namespace) => {
        const before = await namespace.state();
        const enter = `echo $$ > ${group}/cgroup.procs; exec "$@"`;
        const client = await namespace.client((argv) => [
          ...['setsid', 'sh', '-c', enter, 'sh'],
          // ip(8) would put another /sys over the hierarchy.
          ...etc(['nsenter', `--net=/run/netns/${namespace.name}`, ...asUser(...argv.slice(4))]),
        ]);
        const helper = await client.start();
        await client.create();
        await client.must('with-device', ...PERSIST);
        writeFileSync(join(group, 'cgroup.kill'), '1');
        await namespace.becomes(before);
        await untilGone(helper);
      });
    } finally {
      for (let left = 20; left > 0 && existsSync(group); left--) {
        await delay(50);
        try {
          rmdirSync(group);
        } catch {
          // Its last process is still ending.
        }
      }
    }
  });
});

describe('helper: its child that reads resolv.conf', { skip }, () => {
  it('has no capability, and ends with the helper', () =>
    inNamespace([], async (namespace) => {
      const client = await userClient(namespace, etc);
      const helper = await client.start();
      const children = readFileSync(`/proc/${helper}/task/${helper}/children`, 'utf8').trim();
      assert.match(children, /^\d+$/);
      const status = readFileSync(`/proc/${children}/status`, 'utf8');
      for (const set of ['CapEff', 'CapPrm', 'CapBnd'])
        assert.match(status, new RegExp(`^${set}:\\s0+$`, 'm'));
      assert.match(status, /^NoNewPrivs:\s1$/m);
      if (TESTED_HELPER === HELPER_PATH) assert.match(status, /^Seccomp:\s2$/m);
      assert.deepEqual(readdirSync(`/proc/${children}/fd`).map(Number).toSorted(), [0, 1, 2, 3]);
      process.kill(helper, 'SIGKILL');
      await untilGone(Number(children));
    }));
});

describe('helper: a caller who asks about other people’s files', { skip }, () => {
  it('learns nothing about places that he can’t enter', async () => {
    const closed = join(directory, 'closed');
    mkdirSync(join(closed, 'there'), { recursive: true });
    chmodSync(closed, 0o700);
    const answers = await Promise.all(
      ['there', 'missing', 'there/socket'].map(async (name) => {
        const path = join(closed, name, 'helper');
        const { status, stderr } = await run([TESTED_HELPER, path], {
          env: { PATH: SEARCH_PATH, SUDO_UID: String(UID) },
        });
        return `${status} ${stderr.replace(path, 'PATH')}`;
      }),
    );
    assert.equal(new Set(answers).size, 1, answers.join(''));
    assert.match(answers[0] ?? '', /Permission denied/);
  });

  it('has his own rights looked up, with his groups', async () => {
    const shared = join(directory, 'shared');
    mkdirSync(shared);
    await mustRun(['chown', `0:${UID}`, shared]);
    chmodSync(shared, 0o750);
    const { stderr } = await run(etc([TESTED_HELPER, join(shared, 'missing', 'helper')]), {
      env: { PATH: SEARCH_PATH, SUDO_UID: String(UID) },
    });
    assert.match(stderr, /No such file/);
  });
});

describe('helper: a stranger who connects to its mark', { skip }, () => {
  it('takes nobody’s device away, and holds no start up', () =>
    inNamespace([], async (namespace) => {
      const client = await userClient(namespace, etc);
      const helper = await client.start();
      await client.create();
      // As one that is busy, with a full queue.
      process.kill(helper, 'SIGSTOP');
      const flood = await stranger(namespace, FLOOD, await markOf(namespace));
      try {
        await flood.waitForLine(/^full$/m, 10_000);
        const next = await userClient(namespace, etc);
        const began = performance.now();
        await next.start();
        const took = performance.now() - began;
        await next.must('close');
        assert.ok(took < 10_000, `${took} ms`);
        assert.doesNotMatch(next.child.stdout, /notice/);
      } finally {
        process.kill(helper, 'SIGCONT');
        await flood.stop('SIGKILL');
      }
      assert.match(await namespace.ip('link show tun0'), /tun0/);
      await client.must('routes', '10.0.0.0/8');
      await client.must('close');
    }));

  it('gets a limited number of answers, and the caller gets all of his', () =>
    inNamespace([], async (namespace) => {
      const client = await userClient(namespace, etc);
      await client.start();
      await client.create();
      const flood = await stranger(namespace, COUNTING, await markOf(namespace));
      try {
        await flood.waitForLine(/^begun$/m, 10_000);
        await client.must('routes', '10.0.0.0/8');
        await client.must('routes');
        const [, count] = await flood.waitForLine(/^(\d+)$/m, 15_000);
        // MARK_ANSWERS in mark.h in each of two seconds, or of three that they touch.
        assert.ok(Number(count) > 0 && Number(count) <= 300, `${count} answers in 2 s`);
      } finally {
        await flood.stop('SIGKILL');
      }
      await client.must('close');
    }));
});

/** Keeps what comes to /dev/log in a file, for as long as the program runs that it becomes. */
const WITH_LOG = `
import os, select, socket, sys
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind("/dev/log")
alive, held = os.pipe()
if os.fork() == 0:
    os.close(held)
    with open(sys.argv[1], "ab", 0) as out:
        while log in select.select([log, alive], [], [])[0]: out.write(log.recv(4096) + b"\\n")
    os._exit(0)
os.set_inheritable(held, True)
os.execvp(sys.argv[2], sys.argv[2:])
`;

/** A /dev of its own, so that it can have a log. */
const OWN_DEV = `set -e
mkdir "$0"
mount -t tmpfs -o mode=755 dev "$0"
mkdir "$0/net"
for name in null zero full random urandom tty net/tun; do cp -a "/dev/$name" "$0/$name"; done
mount --move "$0" /dev
exec "$@"`;

describe('helper: a limit that it tells nobody else', { skip }, () => {
  it('is named in the system log, with how often it was reached', () =>
    inNamespace([], async (namespace) => {
      const numbers = Array.from({ length: 600 }, (_, number) => number);
      const groups = numbers.map((at) => `many${at}:x:${70_000 + at}:${USER}`);
      const resolvers = numbers.map((at) => `nameserver 10.53.${at >> 8}.${at & 255}`);
      const own = mkdtempSync(join(directory, 'log-'));
      chmodSync(own, 0o755);
      const path = join(own, 'log');
      writeFileSync(path, '');
      const etcOfMany = etcOfUser(directory, {
        group: ['root:x:0:', `${USER}:x:${UID}:`, ...groups, ''].join('\n'),
        'resolv.conf': [...resolvers, '#'.repeat(16_384), ''].join('\n'),
      });
      const logged = (argv: readonly string[]) =>
        etcOfMany([
          ...['sh', '-c', OWN_DEV, join(own, 'dev')],
          ...['/usr/bin/python3', '-c', WITH_LOG, path, ...argv],
        ]);
      const client = await userClient(namespace, logged);
      const helper = await client.start();
      await client.create();
      const lines = () =>
        readFileSync(path, 'utf8')
          .split('\n')
          .filter((line) => line.startsWith(`<28>tunnel-helper[${helper}]: `))
          .map((line) => line.replace(/^.*?\]: /, '').replace(/\).*\(/, ') ('));
      const become = async (wanted: readonly string[]) => {
        const until = performance.now() + 10_000;
        while (performance.now() < until && !wanted.every((one) => lines().includes(one)))
          await delay(50);
        assert.deepEqual(
          wanted.filter((one) => !lines().includes(one)),
          [],
          lines().join('\n'),
        );
      };
      await become([
        'CLIENT_MAX_GROUPS (512) (1 time)',
        'RESOLVERS_MAX (32) (1 time)',
        'RESOLVERS_MAX_BYTES (16384) (1 time)',
      ]);
      const flood = await stranger(namespace, COUNTING, await markOf(namespace));
      try {
        await become(['MARK_ANSWERS (100) (1 time)', 'MARK_ANSWERS (100) (2 times)']);
      } finally {
        await flood.stop('SIGKILL');
      }
      // Told the first, the second and the fourth time.
      for (let again = 0; again < 3; again++) await client.must('routes', `10.${again}.0.0/16`);
      const told = lines().filter((line) => line.startsWith('RESOLVERS_MAX ('));
      assert.ok(told.length < 4, told.join(' '));
      await client.must('close');
    }));
});
