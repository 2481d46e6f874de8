/** Which modules a start loads: each takes a fraction of a millisecond, packages take tens. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../../src/main.js', import.meta.url));
const SOURCES = new URL('../../../src/', import.meta.url).href;
const TIMEOUT_MS = 30_000;

const dataUrl = (source: string) => `data:text/javascript,${encodeURIComponent(source)}`;

/** The modules that it loads: of this program relative to src/, of packages relative to theirs. */
async function modulesOf(args: readonly string[]): Promise<ReadonlySet<string>> {
  const directory = await mkdtemp(join(tmpdir(), 'loaded-'));
  try {
    const list = join(directory, 'list');
    const hooks = dataUrl(`
      import { appendFileSync } from 'node:fs';
      export async function load(url, context, next) {
        appendFileSync(${JSON.stringify(list)}, url + '\\n');
        return next(url, context);
      }`);
    const preload = dataUrl(
      `import { register } from 'node:module'; register(${JSON.stringify(hooks)});`,
    );
    const child = spawn(process.execPath, ['--import', preload, MAIN, ...args], {
      stdio: 'ignore',
      timeout: TIMEOUT_MS,
    });
    await once(child, 'exit');
    const urls = (await readFile(list, 'utf8')).split('\n').filter((url) => /^file:/.test(url));
    return new Set(urls.map((url) => url.replace(SOURCES, '').replace(/^.*\/node_modules\//, '')));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Those that are, or begin with, one of the names. */
function among(loaded: ReadonlySet<string>, names: readonly string[]): readonly string[] {
  return [...loaded].filter((module) => names.some((name) => module.startsWith(name)));
}

/** Packages and folders that only some runs need. */
const SPECIAL = [
  'ansi-escapes/',
  'cli/watch/',
  'config/profiles/document.js',
  'config/profiles/render.js',
  'config/profiles/save.js',
  'doctor/',
  'embed/',
  'metrics/',
  'openstack/',
  'prom-client/',
  'record/flowlog.js',
  'record/pcapfile.js',
  'session/doctor.js',
  'session/jumphost.js',
  'socks/',
  'ssh/openssh/dial.js',
  'string-width/',
  'system/doctor/nftables.js',
  'undici/',
  'yaml/',
];
/** What carries connections. */
const TUNNEL = [
  '@noble/',
  'capture/',
  'connect/',
  'dns/',
  'dns-packet/',
  'flow/',
  'link/',
  'policy/',
  'session/tunnel.js',
  'ssh/embedded/',
  'ssh2/',
];

describe('what a start loads', () => {
  it('--version: what prints it', async () => {
    for (const option of ['--version', '-V']) {
      assert.deepEqual([...(await modulesOf([option]))].sort(), [
        'cli/oldestnode.js',
        'cli/output.js',
        'cli/version.js',
        'errors/errors.js',
        'errors/reason.js',
        'main.js',
      ]);
    }
  });

  it('--help: nothing of what runs a tunnel', async () => {
    const loaded = await modulesOf(['--help']);
    assert.ok(loaded.has('cli/program.js'));
    assert.deepEqual(among(loaded, [...SPECIAL, ...TUNNEL]), []);
  });

  it('exec: nothing of what it was not asked for', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const address = closed.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    closed.close();
    await once(closed, 'close');
    const loaded = await modulesOf([
      'exec',
      '-F',
      'none',
      '-r',
      `nobody@127.0.0.1:${port}`,
      '10.0.0.0/8',
      '--',
      'true',
    ]);
    assert.ok(loaded.has('session/exec.js') && loaded.has('ssh/embedded/handshake/dial.js'));
    assert.deepEqual(among(loaded, SPECIAL), []);
  });
});
