/**
 * The program with a `runConnect` that behaves as each test needs, bundled in the place of
 * session/connect.ts: signals, exit codes, and what happens with failures that nobody expected.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'esbuild';
import { bundle } from '../../../scripts/bundle.ts';

/** A bundle finds its files from a folder beside dist/src. */
const DIST = fileURLToPath(new URL('../../../', import.meta.url));
const TIMEOUT_MS = 20_000;
/** Less than what entry/self.ts grants to whatever is left. */
const GRACE_MS = 1500;

/** In the place of session/connect.ts. A variable has its body. */
const RUN_CONNECT = `
import { TunnelError } from '../errors/errors.ts';
const AsyncFunction = (async () => {}).constructor;
export async function runConnect(configuration, { observer, prompter, service, stop }) {
  const stopped = new Promise((resolve) => stop.addEventListener('abort', resolve));
  const given = { configuration, observer, prompter, service, stop, stopped, TunnelError };
  return new AsyncFunction(...Object.keys(given), process.env.BODY)(...Object.values(given));
}`;
const standIn: Plugin = {
  name: 'a run of the test',
  setup({ onLoad }) {
    onLoad({ filter: /\/session\/connect\.ts$/ }, () => ({ contents: RUN_CONNECT, loader: 'js' }));
  },
};

let directory = '';
before(async () => {
  directory = mkdtempSync(join(DIST, 'test-main-'));
  await Promise.all([
    bundle(directory, 'main', 'src/main.ts'),
    bundle(directory, 'run', 'src/entry/run.ts', [standIn]),
  ]);
});
after(() => rmSync(directory, { recursive: true, force: true }));

/** Runs a command in a session of its own, with a controlling terminal ("terminal") or without. */
const SESSION = `
import fcntl, os, pty, sys, termios
os.setsid()
if sys.argv[1] == "terminal":
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    os.set_inheritable(master, True)
os.execvp(sys.argv[2], sys.argv[2:])`;

/**
 * `body` is run()'s; it has `configuration`, `observer`, `prompter`, `service`, `stop`, `stopped`
 * (a promise) and `TunnelError`.
 */
async function tunnel(
  body: string,
  {
    args = [] as string[],
    signals = [] as NodeJS.Signals[],
    /** Sent when the counters have been shown. */
    last = undefined as NodeJS.Signals | undefined,
    /** Nobody reads what it says until it has ended. */
    unread = false,
    terminal = 'terminal' as 'terminal' | 'none',
  } = {},
) {
  const command = [join(directory, 'main.cjs'), '-r', 'user@jumphost', '10/8', ...args];
  const child = spawn('/usr/bin/python3', ['-c', SESSION, terminal, process.execPath, ...command], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, BODY: body },
    timeout: TIMEOUT_MS,
    // Not a signal that it ends in order with.
    killSignal: 'SIGKILL',
  });
  let stderr = '';
  let lastSaid = 0;
  const pending = [...signals];
  if (unread) await once(child, 'exit');
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    lastSaid = Date.now();
    // One signal for each time that the program says that it waits for one.
    const asked = stderr.split('waiting').length - 1;
    while (pending.length > 0 && signals.length - pending.length < asked)
      child.kill(pending.shift());
    if (last !== undefined && stderr.includes('tunnel_log_dropped_total')) child.kill(last);
  });
  const closed = unread ? once(child.stderr, 'end') : once(child, 'close');
  await closed;
  const { exitCode: status, signalCode: signal } = child;
  return { status, signal, stderr, idle: Date.now() - lastSaid };
}

const WAIT = `const alive = setInterval(() => {}, 1000); observer.log('notice', 'waiting'); await stopped; clearInterval(alive);`;

describe('main', () => {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    it(`stops in order on ${name}`, async () => {
      const { idle, ...result } = await tunnel(`${WAIT} observer.log('notice', 'undone');`, {
        signals: [name],
      });
      assert.ok(idle < GRACE_MS, `${idle} ms until the end although nothing was left to do`);
      assert.deepEqual(result, {
        status: 0,
        signal: null,
        stderr: 'tunnel: waiting\ntunnel: undone\n',
      });
    });
  }

  it('reads its line again on SIGHUP where there is no terminal, and goes on', async () => {
    const again = `setTimeout(() => observer.log('notice', 'waiting still'), 300);`;
    const { status, stderr } = await tunnel(`${again} ${WAIT}`, {
      signals: ['SIGHUP', 'SIGTERM'],
      terminal: 'none',
    });
    assert.deepEqual([status, stderr], [0, 'tunnel: waiting\ntunnel: waiting still\n']);
  });

  it('shows the counters on SIGUSR1, whatever the level, and goes on', async () => {
    const { status, signal, stderr } = await tunnel(
      `observer.count('tunnel_redials_total', 3); ${WAIT.replace("'notice'", "'error'")}`,
      { args: ['-q'], signals: ['SIGUSR1'], last: 'SIGTERM' },
    );
    assert.deepEqual([status, signal], [0, null]);
    const [, first, second] = stderr.split('\n');
    assert.match(first ?? '', /^tunnel: tunnel_redials_total 3: attempts to connect/);
    assert.match(second ?? '', /^tunnel: zero: tunnel_flows_opened_total /);
    assert.doesNotMatch(stderr, /Debugger/);
  });

  it('shows at the end what was counted, with -v', async () => {
    const body = `observer.count('tunnel_redials_total', 3);`;
    const { stderr } = await tunnel(body, { args: ['-v'] });
    assert.match(stderr, /^tunnel: tunnel_redials_total 3: attempts to connect .*\n$/);
    assert.equal((await tunnel(body)).stderr, '');
    const failing = await tunnel(`${body} throw new TunnelError('helper-lost', 'gone');`, {
      args: ['-v'],
    });
    assert.match(
      failing.stderr,
      /^tunnel: tunnel_redials_total 3: .*\ntunnel: error \[helper-lost\]/,
    );
  });

  it('runs and ends although nobody reads what it says, and says at the end what it can', async () => {
    const body = `
      for (let i = 0; i < 20_000; i++) observer.log('notice', 'a line that nobody reads');
      throw new TunnelError('helper-lost', 'gone');`;
    const { status, stderr } = await tunnel(body, { unread: true });
    assert.equal(status, 6);
    assert.match(stderr, /^(tunnel: a line that nobody reads\n)+/);
    // As soon as somebody reads again, it is all there: what waited, how much is missing, the
    // error.
    const read = await tunnel(body);
    assert.match(read.stderr, /tunnel: error \[helper-lost\]: gone\n$/);
    const lines = read.stderr.match(/that nobody reads/g)?.length ?? 0;
    const [, missing = '0'] = /warning: (\d+) messages were left out/.exec(read.stderr) ?? [];
    assert.equal(lines + Number(missing), 20_000);
  });

  for (const [name, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)
    it(`takes a rejection with the reason of ${name} for an orderly stop, once it is ready`, async () => {
      const signals = [name];
      const { idle: _, ...early } = await tunnel(`${WAIT} throw stop.reason;`, { signals });
      assert.deepEqual(early, { status, signal: null, stderr: 'tunnel: waiting\n' });
      const ready = `await service.ready(); ${WAIT} throw stop.reason;`;
      assert.equal((await tunnel(ready, { signals })).status, 0);
    });

  it('reports what went wrong while stopping', async () => {
    const result = await tunnel(
      `${WAIT} throw new TunnelError('helper-lost', 'routes stay', { hint: 'look' });`,
      {
        signals: ['SIGINT'],
      },
    );
    assert.equal(result.status, 6);
    assert.match(
      result.stderr,
      /tunnel: error \[helper-lost\]: routes stay\ntunnel: hint: look\n$/,
    );
  });

  it('ends at once on a second SIGINT, but not on a second SIGTERM', async () => {
    const stuck = `${WAIT} observer.log('notice', 'waiting again'); setInterval(() => {}, 1000); await new Promise(() => {});`;
    assert.equal((await tunnel(stuck, { signals: ['SIGINT', 'SIGINT'] })).status, 130);
    assert.equal((await tunnel(stuck, { signals: ['SIGTERM', 'SIGINT'] })).status, 130);
    const patient = `${WAIT} observer.log('notice', 'waiting again');
      await new Promise((resolve) => setTimeout(resolve, 300)); observer.log('notice', 'undone');`;
    const result = await tunnel(patient, { signals: ['SIGTERM', 'SIGTERM'] });
    assert.equal(result.status, 0);
    assert.match(result.stderr, /undone/);
  });

  it('gives each failure its exit code', async () => {
    const result = await tunnel(`throw new TunnelError('host-key-changed', 'not the same key');`);
    assert.equal(result.status, 4);
    assert.equal(result.stderr, 'tunnel: error [host-key-changed]: not the same key\n');
  });

  it('shows the stack of a fault only with -vv', async () => {
    const short = await tunnel(`undefined.x;`);
    assert.equal(short.status, 1);
    assert.match(
      short.stderr,
      /^tunnel: error \[unexpected\]: .*undefined.*\ntunnel: hint: .*-vv.*\n$/,
    );
    const long = await tunnel(`undefined.x;`, { args: ['-vv'] });
    assert.equal(long.status, 1);
    assert.match(long.stderr, /tunnel: {3}TypeError: .*\ntunnel: {3}at .*runConnect/);
  });

  it('ends on faults that nobody handled', async () => {
    for (const fault of [
      `setTimeout(() => { throw new Error('late'); }, 10);`,
      `setTimeout(() => { Promise.reject(new Error('late')); }, 10);`,
    ]) {
      const result = await tunnel(`${fault} ${WAIT}`);
      assert.equal(result.status, 1);
      assert.match(result.stderr, /tunnel: error \[unexpected\]: late\n/);
    }
  });

  it('ends although something is left that keeps the process', async () => {
    const { idle: _, ...result } = await tunnel(`setInterval(() => {}, 1000);`);
    assert.deepEqual(result, { status: 0, signal: null, stderr: '' });
  });

  it('logs notices about the arguments, and hands over the configuration', async () => {
    const result = await tunnel(`observer.log('notice', String(configuration.targets.length));`, {
      args: ['10.1.2.3/16'],
    });
    assert.equal(
      result.stderr,
      'tunnel: 10.1.2.3/16 has host bits set, it is read as 10.1.0.0/16\ntunnel: 2\n',
    );
  });
});
