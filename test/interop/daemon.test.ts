/** -D, --pidfile and `tunnel up` at a real sshd: the whole program, also at a terminal. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { lives } from '../../src/control/directory.ts';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { type ExecResult, run } from '../support/process.ts';
import { programCommand } from '../support/tunnel.ts';

const TYPED = fileURLToPath(new URL('../../../test/support/typed.py', import.meta.url));
const LIMIT_MS = 30_000;
const PASSPHRASE = 'correct horse';

async function until(done: () => boolean, what: string): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  while (!done()) {
    assert.ok(performance.now() < end, what);
    await delay(20);
  }
}

describe('tunnel -D', { skip: sshdMissing }, () => {
  let sshd: LoopbackSshd;
  let pidfile: string;
  let line: string[];
  let env: Record<string, string>;
  const started = new Set<number>();
  before(async () => {
    sshd = await LoopbackSshd.start();
    pidfile = join(sshd.directory, 'tunnel.pid');
    const runtime = join(sshd.directory, 'run');
    mkdirSync(runtime, { mode: 0o700 });
    env = { PATH: process.env['PATH'] ?? '', HOME: sshd.directory, XDG_RUNTIME_DIR: runtime };
    line = [
      ...['-F', 'none', '-r', `${sshd.user}@127.0.0.1:${sshd.port}`, '-i', sshd.userKey],
      ...['--host-key', (await sshd.knownHostsLine()).trim(), '--listen', '127.0.0.1:0'],
    ];
  });
  afterEach(async () => {
    for (const pid of started) if (lives(pid)) process.kill(pid, 'SIGKILL');
    await until(() => [...started].every((pid) => !lives(pid)), 'a tunnel is left');
    started.clear();
  });
  after(() => sshd?.stop());

  const tunnel = (...args: readonly string[]): Promise<ExecResult> =>
    run(['setsid', '--wait', ...programCommand(), ...args], { env, timeout: LIMIT_MS });

  /** The one of the pidfile, which a successful start has written. */
  function running(path = pidfile): number {
    const pid = Number(readFileSync(path, 'latin1'));
    started.add(pid);
    return pid;
  }

  async function stopped(pid: number, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    process.kill(pid, signal);
    await until(() => !lives(pid), 'it has not ended');
  }

  it('returns when it is ready, and runs on without terminal and standard descriptors', async () => {
    const ready = join(sshd.directory, 'ready');
    const args = ['proxy', ...line, '-D', '--pidfile', pidfile, '--ready-fd', '7'];
    const { status, stderr } = await run(
      ['setsid', '--wait', 'sh', '-c', 'exec "$@" 7>"$0"', ready, ...programCommand(), ...args],
      { env, timeout: LIMIT_MS },
    );
    assert.equal(status, 0, stderr);
    assert.match(stderr, /^tunnel: ready\n$/m);
    assert.equal(readFileSync(ready, 'latin1'), 'READY=1\n');
    assert.match(readFileSync(pidfile, 'latin1'), /^\d+\n$/);
    const pid = running();
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const [, , group, session, terminal] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    assert.deepEqual([group, session, terminal], [String(pid), String(pid), '0']);
    for (const fd of [0, 1, 2]) assert.equal(readlinkSync(`/proc/${pid}/fd/${fd}`), '/dev/null');
    assert.equal(readlinkSync(`/proc/${pid}/cwd`), process.cwd());
    const shown = await tunnel('status', String(pid));
    assert.equal(shown.status, 0, shown.stderr);
    await stopped(pid);
    assert.ok(!existsSync(pidfile));
    assert.deepEqual(
      readdirSync(sshd.directory).filter((name) => name.includes('.pid')),
      [],
    );
  });

  it('fails with the status and the message that it has at the terminal', async () => {
    const other = line.map((word) => word.replace(`${sshd.user}@`, 'nobody-here@'));
    const { status, stderr } = await tunnel('proxy', ...other, '-D', '--pidfile', pidfile);
    assert.equal(status, 3);
    assert.match(stderr, /error \[auth-failed\]/);
    assert.ok(!existsSync(pidfile));
    assert.equal((await tunnel('proxy', ...line, '-D', '--no-such-option')).status, 2);
  });

  it('keeps no descriptor that it was started with', async () => {
    const args = ['proxy', ...line, '-D', '--pidfile', pidfile];
    // The shell would wait for everybody who holds the pipe.
    const { status, stdout } = await run(
      [
        'sh',
        '-c',
        'got=$("$@" 2>&1 9>&1); echo "$got" | tail -n 1',
        'sh',
        ...programCommand(),
        ...args,
      ],
      { env, timeout: LIMIT_MS },
    );
    assert.deepEqual([status, stdout], [0, 'tunnel: ready\n']);
    await stopped(running());
  });

  it('asks at the terminal, and outlives it', async () => {
    const key = join(sshd.directory, 'locked_key');
    writeFileSync(key, readFileSync(sshd.userKey), { mode: 0o600 });
    execFileSync('ssh-keygen', ['-q', '-p', '-N', PASSPHRASE, '-f', key]);
    const locked = line.map((word) => (word === sshd.userKey ? key : word));
    const args = ['proxy', ...locked, '-D', '--pidfile', pidfile];
    const { status, stdout } = await run(
      ['python3', TYPED, 'Passphrase for', PASSPHRASE, ...programCommand(), ...args],
      { env, timeout: LIMIT_MS },
    );
    assert.equal(status, 0, stdout);
    assert.match(stdout, /Passphrase for .*locked_key: /);
    assert.match(stdout, /tunnel: ready/);
    assert.ok(!stdout.includes(PASSPHRASE));
    const pid = running();
    const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    assert.deepEqual(
      open.filter((path) => /tty|pts/.test(path)),
      [],
    );
    assert.equal((await tunnel('status', String(pid))).status, 0);
    await stopped(pid);
  });

  it('stops when whoever started it ends before it is ready', async () => {
    const args = ['proxy', ...line.slice(0, -2), '--connect-timeout', '60'];
    const silent = args.map((word) => word.replace(`127.0.0.1:${sshd.port}`, '192.0.2.1'));
    const child = spawn('setsid', [...programCommand(), ...silent, '-D', '--pidfile', pidfile], {
      env,
      stdio: 'ignore',
    });
    const { pid: first = 0 } = child;
    const children = () =>
      readFileSync(`/proc/${first}/task/${first}/children`, 'latin1').trim().split(' ');
    await until(() => children()[0] !== '', 'it has not started itself again');
    const second = Number(children()[0]);
    started.add(second);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await until(() => !lives(second), 'the second process runs on');
  });

  describe('a signal before it is ready', () => {
    const silent = createServer();
    let sockets: Socket[] = [];
    let reached = () => {};
    before(async () => {
      silent.on('connection', (socket) => {
        sockets.push(socket.on('error', () => {}).resume());
        reached();
      });
      silent.listen(0, '127.0.0.1');
      await once(silent, 'listening');
    });
    after(() => silent.close());

    /** Its exit status, after the signal has come while the server says nothing. */
    async function interrupted(args: string[], signal: NodeJS.Signals): Promise<number | null> {
      const dialled = new Promise<void>((resolve) => {
        reached = resolve;
      });
      const [file = '', ...words] = [...programCommand(), ...args];
      const child = spawn(file, words, { env, stdio: 'ignore', timeout: LIMIT_MS });
      const ended = once(child, 'exit');
      await Promise.race([dialled, ended]);
      child.kill(signal);
      const [status, by] = await ended;
      assert.equal(by, null);
      await until(() => sockets.every((socket) => socket.closed), 'a tunnel is left');
      sockets = [];
      assert.ok(!existsSync(pidfile));
      return status;
    }

    for (const [signal, status] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const)
      it(`${signal} ends it with ${status}, and leaves no tunnel`, async () => {
        const { port } = silent.address() as AddressInfo;
        const words = line.map((word) => word.replace(/:\d+$/, `:${port}`));
        const proxy = ['proxy', ...words.slice(0, -1), '127.0.0.1:0', '--pidfile', pidfile];
        const config = join(sshd.directory, 'silent.yaml');
        writeFileSync(
          config,
          `profiles:\n  silent: {command: proxy, remote: u@127.0.0.1, port: ${port}, pidfile: ${pidfile}}\n`,
          { mode: 0o600 },
        );
        assert.equal(await interrupted(proxy, signal), status, 'at the terminal');
        assert.equal(await interrupted([...proxy, '-D'], signal), status, '-D');
        assert.equal(await interrupted(['up', '--config', config, 'silent'], signal), status, 'up');
        const exec = ['exec', ...words.slice(0, -2), '10.0.0.0/8', '--', 'true'];
        assert.equal(await interrupted(exec, signal), status, 'exec');
      });

    it('"tunnel stop" counts as TERM', async () => {
      const { port } = silent.address() as AddressInfo;
      const args = ['proxy', '-F', 'none', '-r', `u@127.0.0.1:${port}`, '--name', 'unready'];
      const dialled = new Promise<void>((resolve) => {
        reached = resolve;
      });
      const [file = '', ...words] = [...programCommand(), ...args, '--listen', '127.0.0.1:0'];
      const child = spawn(file, words, { env, stdio: 'ignore', timeout: LIMIT_MS });
      const ended = once(child, 'exit');
      await Promise.race([dialled, ended]);
      assert.equal((await tunnel('stop', 'unready')).status, 0);
      assert.deepEqual(await ended, [143, null]);
    });
  });

  it('refuses the pidfile of a tunnel that runs, and replaces that of one that was killed', async () => {
    const args = ['proxy', ...line, '-D', '--pidfile', pidfile];
    assert.equal((await tunnel(...args)).status, 0);
    const first = running();
    const refused = await tunnel(...args);
    assert.equal(refused.status, 7);
    assert.match(refused.stderr, new RegExp(`already-running.*\\bprocess ${first}$`, 'm'));
    assert.equal(Number(readFileSync(pidfile, 'latin1')), first);
    await stopped(first, 'SIGKILL');
    assert.ok(existsSync(pidfile));
    assert.equal((await tunnel(...args)).status, 0);
    const second = running();
    assert.notEqual(second, first);
    await stopped(second);
  });

  it('of several that start with one pidfile, one runs', async () => {
    writeFileSync(pidfile, '1\n');
    const args = ['proxy', ...line, '-D', '--pidfile', pidfile];
    const outcomes = await Promise.all([1, 2, 3].map(() => tunnel(...args)));
    assert.deepEqual(outcomes.map(({ status }) => status).sort(), [0, 7, 7]);
    const pid = running();
    assert.equal((await tunnel('status', String(pid))).status, 0);
    await stopped(pid);
  });

  it('leaves a file alone that is no pidfile, and names a directory that can’t be written', async () => {
    const precious = join(sshd.directory, 'precious');
    writeFileSync(precious, 'not a number\n');
    symlinkSync(precious, join(sshd.directory, 'link.pid'));
    for (const name of ['precious', 'link.pid', 'run']) {
      const path = join(sshd.directory, name);
      const { status, stderr } = await tunnel('proxy', ...line, '-D', '--pidfile', path);
      assert.equal(status, 2, stderr);
      assert.match(stderr, /error \[usage\]: --pidfile/);
    }
    assert.equal(readFileSync(precious, 'latin1'), 'not a number\n');
    const missing = join(sshd.directory, 'none/tunnel.pid');
    const { status, stderr } = await tunnel('proxy', ...line, '-D', '--pidfile', missing);
    assert.equal(status, 2);
    assert.match(stderr, /error \[pidfile-unwritable\]/);
  });

  it('up starts a profile so, and down ends it', async () => {
    const config = join(sshd.directory, 'config.yaml');
    const hostKey = JSON.stringify((await sshd.knownHostsLine()).trim());
    const words = `command: proxy, remote: ${sshd.user}@127.0.0.1, port: ${sshd.port}, identity: ${sshd.userKey}`;
    writeFileSync(
      config,
      `profiles:\n  lab: {${words}, host-key: ${hostKey}, listen: '127.0.0.1:0', pidfile: ${pidfile}}\n`,
      { mode: 0o600 },
    );
    const up = await tunnel('up', '--config', config, 'lab');
    assert.equal(up.status, 0, up.stderr);
    const pid = running();
    const again = await tunnel('up', '--config', config, 'lab');
    assert.equal(again.status, 7);
    assert.match(
      again.stderr,
      new RegExp(`lab runs already, as process ${pid}\n.*tunnel down lab`),
    );
    assert.equal((await tunnel('down', 'lab')).status, 0);
    assert.ok(!lives(pid));
    assert.ok(!existsSync(pidfile));
  });

  it('a profile may say so itself', async () => {
    const config = join(sshd.directory, 'own.yaml');
    writeFileSync(config, `profiles:\n  own: {daemon: true, pidfile: ${pidfile}}\n`, {
      mode: 0o600,
    });
    const all = ['proxy', ...line, '--config', config, '--profile', 'own'];
    assert.equal((await tunnel(...all)).status, 0);
    await stopped(running());
  });
});
