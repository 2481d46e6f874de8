/** The bundle that `tunnel` starts: made here, and run where it finds no packages. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bundleProgram } from '../../../scripts/bundle.ts';
import { packageRoot } from '../../../src/native/files.ts';

const ROOT = packageRoot();
const MAIN = fileURLToPath(new URL('../../../src/main.js', import.meta.url));
const COMPLETION = fileURLToPath(new URL('../../../src/cli/completion/main.js', import.meta.url));

describe('the bundle', () => {
  /** As an installation without packages. */
  const place = mkdtempSync(join(tmpdir(), 'tunnel-bundle-'));
  const bundled = join(place, 'dist/program');
  after(() => rmSync(place, { recursive: true }));

  const run = (script: string, ...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], HOME: place },
    });
    return { status, stdout, stderr };
  };

  before(async () => {
    const made = mkdtempSync(join(ROOT, 'dist/bundle-'));
    try {
      await bundleProgram(made);
      mkdirSync(join(place, 'dist'));
      cpSync(made, bundled, { recursive: true });
    } finally {
      rmSync(made, { recursive: true });
    }
    for (const name of ['package.json', 'docs', 'prebuilds', 'dist/native'])
      symlinkSync(join(ROOT, name), join(place, name));
    const table = 'dist/src/cli/completion/table.json';
    mkdirSync(join(place, 'dist/src/cli/completion'), { recursive: true });
    cpSync(join(ROOT, 'dist/src/cli/commands.js'), join(place, 'dist/src/cli/commands.js'));
    cpSync(join(ROOT, table), join(place, table));
  });

  it('answers as the modules do', () => {
    for (const args of [
      ['--version'],
      ['--help'],
      ['exec', '--help'],
      ['--print-config', '-r', 'a', '10/8'],
      ['jumphost', 'sshd', '10.0.0.0/8'],
      ['-r', 'user@jumphost', 'nonsense//8'],
    ]) {
      const expected = run(MAIN, ...args);
      assert.deepEqual(run(join(bundled, 'main.cjs'), ...args), expected, args.join(' '));
      assert.notEqual(expected.stdout + expected.stderr, '', args.join(' '));
    }
    const line = ['bash', 'tunnel exec --on', '--on'];
    const answer = run(join(bundled, 'completion.cjs'), ...line);
    assert.deepEqual(answer, run(COMPLETION, ...line));
    assert.match(answer.stdout, /^--on-demand$/m);
  });

  it('connects, without a package beside it', () => {
    for (const transport of ['ssh2', 'openssh']) {
      const args = ['proxy', '-F', 'none', '--socks', '127.0.0.1:0', '--transport', transport];
      const { status, stderr } = run(join(bundled, 'main.cjs'), ...args, '-r', 'a@127.0.0.1:1');
      assert.match(stderr, /error \[jumphost-refused\]/, transport);
      assert.equal(status, 5, transport);
    }
  });

  it('names in traces what the sources name', () => {
    const text = readFileSync(join(bundled, 'run.cjs'), 'utf8');
    for (const line of [/^ +"src\/link\/dialler\.ts"\(\) \{$/m, /^ +async dial\(\{ jumpHosts \}/m])
      assert.ok(line.test(text), String(line));
  });

  it('comes with the licences of what is in it', () => {
    const licences = readFileSync(join(bundled, 'LICENSES.txt'), 'utf8');
    const text = readFileSync(join(bundled, 'run.cjs'), 'utf8');
    const packages = new Set(
      [...text.matchAll(/node_modules\/((?:@[\w.-]+\/)?[\w.-]+)\/[^"\n]*"?/g)].map(
        ([, name]) => name,
      ),
    );
    assert.ok(packages.has('ssh2') && packages.has('yaml') && packages.has('@noble/hashes'));
    for (const name of packages) {
      const { version } = JSON.parse(readFileSync(manifestOf(String(name)), 'utf8'));
      const at = licences.indexOf(`\n${name} ${version}\n\n`);
      assert.notEqual(at, -1, `${name} ${version}`);
      const own = licences.slice(at).split(/^-{80}$/m, 1)[0] ?? '';
      assert.match(own, /permi(t|ssion)|Apache License|public domain/i, name);
    }
  });
});

function manifestOf(name: string): string {
  const nested = name === 'ip-address' ? 'socks/node_modules/' : '';
  return join(ROOT, 'node_modules', nested + name, 'package.json');
}
