/**
 * Debuggers and Node's own variables: the launcher of the checkout, and the program without it.
 * The program waits for a jump host that says nothing.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { giveBack, refuseNodeOptions } from '../../../src/cli/node.ts';
import { UsageError } from '../../../src/errors/errors.ts';

const LAUNCHER = fileURLToPath(new URL('../../../../tunnel', import.meta.url));
const MAIN = fileURLToPath(new URL('../../../src/main.js', import.meta.url));

let silent: Server;
let remote: readonly string[];
before(async () => {
  silent = createServer().listen(0, '127.0.0.1');
  await once(silent, 'listening');
  remote = ['-F', 'none', '-p', String((silent.address() as AddressInfo).port)];
});
after(() => silent.close());

interface Running {
  readonly child: ChildProcess;
  said(): string;
}

function start(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  const child = spawn(command, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...env },
  });
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return { child, said: () => text };
}

async function stop(child: ChildProcess): Promise<void> {
  const running = child.exitCode === null && child.signalCode === null;
  if (!running) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

async function waitFor(text: () => string, wanted: RegExp): Promise<string> {
  for (const until = Date.now() + 20_000; !wanted.test(text()); await sleep(20))
    assert.ok(Date.now() < until, `never said ${wanted}: ${text()}`);
  return text();
}

/** Sends USR1 as soon as Node handles it (its bit in SigCgt), which is long before the program. */
async function signalEarly({ pid }: ChildProcess): Promise<void> {
  for (const until = Date.now() + 10_000; Date.now() < until; ) {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const [, caught = '0'] = /^SigCgt:\s*([0-9a-f]+)$/m.exec(status) ?? [];
    if ((BigInt(`0x${caught}`) & (1n << 9n)) !== 0n && /^Name:\s*node/m.test(status)) break;
  }
  process.kill(pid ?? 0, 'SIGUSR1');
}

/** Resolves with the error's code, or "connected". */
async function dial(address: string): Promise<string> {
  const { hostname, port } = new URL(address);
  const socket = connect({ host: hostname, port: Number(port) });
  try {
    await once(socket, 'connect');
    return 'connected';
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  } finally {
    socket.destroy();
  }
}

describe('debuggers', () => {
  it('nobody can connect to what USR1 opens before the program runs', async () => {
    const { child, said } = start(LAUNCHER, [
      'proxy',
      ...remote,
      '-r',
      'x@127.0.0.1',
      '--http',
      '0',
    ]);
    try {
      await signalEarly(child);
      const text = await waitFor(said, /Debugger listening on ws:\S+\n/);
      const [, address = ''] = /listening on (ws:\S+)/.exec(text) ?? [];
      assert.match(await dial(address), /^(ENETUNREACH|ECONNREFUSED|EACCES)$/);
    } finally {
      await stop(child);
    }
  });

  it('what USR1 has opened is closed when the program runs', async () => {
    const { child, said } = start(process.execPath, [
      '--inspect-port=127.0.0.1:0',
      ...[MAIN, 'proxy', ...remote, '-r', 'x@127.0.0.1', '--http', '0'],
    ]);
    try {
      const connected = once(silent, 'connection');
      await signalEarly(child);
      const text = await waitFor(said, /Debugger listening on ws:\S+\n/);
      const [, address = ''] = /listening on (ws:\S+)/.exec(text) ?? [];
      await connected; // the program has begun to dial
      assert.equal(await dial(address), 'ECONNREFUSED');
    } finally {
      await stop(child);
    }
  });

  it('USR2 ends nothing', async () => {
    const { child } = start(LAUNCHER, ['proxy', ...remote, '-r', 'x@127.0.0.1', '--http', '0']);
    try {
      await once(silent, 'connection');
      child.kill('SIGUSR2');
      child.kill('SIGTERM');
      assert.deepEqual(await once(child, 'exit'), [143, null]); // it was not ready
    } finally {
      await stop(child);
    }
  });
});

describe('without Node', () => {
  it('the launcher says so, with a status that is not the command’s', () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-node-'));
    try {
      const started = (...args: string[]) =>
        spawnSync('/bin/sh', [LAUNCHER, ...args], { encoding: 'utf8', env: { PATH: directory } });
      const { status, stderr } = started('-r', 'user@jumphost', '10/8');
      assert.equal(status, 1);
      assert.match(stderr, /^tunnel: error \[node-version\]: .*\ntunnel: hint: .*\n$/);
      assert.equal(started('exec', '-r', 'user@jumphost', '--', 'true').status, 125);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe("Node's own variables", () => {
  it('do nothing to a program that the launcher starts, and are there for its children', () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-node-'));
    try {
      // The launcher beside another program, which shows what it was started with.
      mkdirSync(join(directory, 'dist/src'), { recursive: true });
      copyFileSync(LAUNCHER, join(directory, 'tunnel'));
      const preload = join(directory, 'preload.cjs');
      writeFileSync(preload, `console.log('obeyed');`);
      const node = new URL('../../../src/cli/node.js', import.meta.url).href;
      writeFileSync(
        join(directory, 'dist/src/main.js'),
        `import('${node}').then(({ giveBack, nodeStartOf }) => {
          const { nodeOptions } = nodeStartOf(process.execArgv, process.env);
          giveBack(process.env);
          console.log(JSON.stringify([nodeOptions, process.env.NODE_OPTIONS, process.env.NODE_PATH]));
        });`,
      );
      const options = `--require=${preload}`;
      const { stdout, stderr } = spawnSync(join(directory, 'tunnel'), {
        encoding: 'utf8',
        env: { ...process.env, NODE_OPTIONS: options, NODE_PATH: `${directory} $(id)"'` },
      });
      assert.equal(stdout, `${JSON.stringify(['', options, `${directory} $(id)"'`])}\n`, stderr);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('are set aside the same way before the bundle, which comes first unless it is older', () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-bundled-'));
    const [modules, bundle] = ['dist/src/main.js', 'dist/program/main.cjs'].map((path) => {
      mkdirSync(join(directory, path, '..'), { recursive: true });
      const file = join(directory, path);
      writeFileSync(file, `console.log(${JSON.stringify(path)}, process.env.NODE_PATH);`);
      return file;
    });
    assert.ok(modules !== undefined && bundle !== undefined);
    const started = (): string => {
      const env = { ...process.env, NODE_PATH: '/' };
      return spawnSync(join(directory, 'tunnel'), { encoding: 'utf8', env }).stdout;
    };
    try {
      copyFileSync(LAUNCHER, join(directory, 'tunnel'));
      utimesSync(bundle, 100, 100);
      assert.equal(started(), 'dist/program/main.cjs undefined\n', 'installed');
      mkdirSync(join(directory, 'src'));
      assert.equal(started(), 'dist/src/main.js undefined\n', 'compiled since');
      utimesSync(modules, 100, 100);
      assert.equal(started(), 'dist/program/main.cjs undefined\n', 'of the same time');
      symlinkSync(join(directory, 'tunnel'), join(directory, 'src/tunnel'));
      const linked = spawnSync(join(directory, 'src/tunnel'), { encoding: 'utf8' });
      assert.match(linked.stdout, /^dist\/program/, linked.stderr);
      const here = spawnSync('sh', ['tunnel'], { cwd: directory, encoding: 'utf8' });
      assert.match(here.stdout, /^dist\/program/, here.stderr);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('are all that is given back: not what a caller of sudo has named alike', () => {
    const env = { TUNNEL_ASIDE_NODE_PATH: '/a', TUNNEL_ASIDE_LD_PRELOAD: '/b', HOME: '/c' };
    giveBack(env);
    assert.deepEqual(env, { NODE_PATH: '/a', TUNNEL_ASIDE_LD_PRELOAD: '/b', HOME: '/c' });
  });

  it('that name files stay aside from root, and are given back', {
    skip: process.getuid?.() !== 0 && 'needs root',
  }, () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-node-'));
    try {
      mkdirSync(join(directory, 'dist/src'), { recursive: true });
      copyFileSync(LAUNCHER, join(directory, 'tunnel'));
      const script = 'console.log(JSON.stringify(process.env));';
      writeFileSync(join(directory, 'dist/src/main.js'), script);
      const set = (/^names="(.*)"$/m.exec(readFileSync(LAUNCHER, 'utf8'))?.[1] ?? '').split(' ');
      const files = [
        ...['NODE_COMPILE_CACHE', 'NODE_EXTRA_CA_CERTS', 'NODE_ICU_DATA'],
        ...['OPENSSL_CONF', 'OPENSSL_ENGINES', 'OPENSSL_MODULES'],
      ];
      assert.ok(set.length > 2, String(set));
      const values = Object.fromEntries([...set, ...files].map((name) => [name, directory]));
      const { PATH } = process.env;
      const { stdout } = spawnSync(join(directory, 'tunnel'), {
        encoding: 'utf8',
        env: { PATH, SUDO_UID: '1000', ...values, NODE_CHANNEL_FD: '0' },
      });
      const seen: NodeJS.ProcessEnv = JSON.parse(stdout);
      for (const name of [...set, ...files]) {
        assert.equal(seen[name], undefined, name);
        assert.equal(seen[`TUNNEL_ASIDE_${name}`], directory, name);
      }
      giveBack(seen);
      for (const name of [...set, ...files]) assert.equal(seen[name], directory, name);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('and debuggers are refused under sudo and doas', () => {
    const execArgv = ['--inspect-port=0', '--max-semi-space-size=4'];
    const plain = { execArgv, nodeOptions: '', files: [] };
    refuseNodeOptions({ ...plain, asRoot: true });
    for (const start of [
      { ...plain, nodeOptions: '--require=/tmp/x.cjs' },
      { ...plain, files: ['OPENSSL_CONF'] },
      ...['--inspect', '--inspect=0', '--inspect-brk', '--inspect_wait=1:2', '--debug'].map(
        (option) => ({ ...plain, execArgv: [option] }),
      ),
    ]) {
      refuseNodeOptions({ ...start, asRoot: false });
      assert.throws(() => refuseNodeOptions({ ...start, asRoot: true }), UsageError);
    }
  });

  it('are refused by the program itself, as root for a caller', {
    skip: process.getuid?.() !== 0 && 'needs root',
  }, () => {
    const { status, stderr } = spawnSync(process.execPath, [MAIN, 'clean'], {
      encoding: 'utf8',
      env: { ...process.env, SUDO_UID: '1000', NODE_OPTIONS: '--no-warnings' },
    });
    assert.equal(status, 2);
    assert.match(stderr, /NODE_OPTIONS and --inspect/);
  });
});
