/** The bundle that `tunnel` starts: made here, and run where it finds no packages. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
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

  it('loads nothing from the home of whoever runs it, or from folders above it', () => {
    const loaded = join(place, 'loaded');
    const module = 'require("node:fs").writeFileSync(process.env.HOME + "/loaded", __filename);';
    for (const above of ['.node_modules', 'dist/node_modules', 'dist/program/node_modules'])
      for (const name of [
        'cpu-features',
        'ssh2/lib/protocol/crypto/build/Release/sshcrypto.node',
      ]) {
        mkdirSync(join(place, above, name), { recursive: true });
        writeFileSync(join(place, above, name, 'index.js'), module);
      }
    run(join(bundled, 'main.cjs'), 'proxy', '-F', 'none', '--socks', '0', '-r', 'a@127.0.0.1:1');
    assert.ok(!existsSync(loaded));
  });

  it("loads ssh2's ciphers from the packages that were installed with it", () => {
    const file = 'ssh2/lib/protocol/crypto/build/Release/sshcrypto.node';
    const hook = join(place, 'hook.cjs');
    writeFileSync(
      hook,
      `require('node:module')._extensions['.node'] = (module, path) => {
        console.log(path);
        module.exports = {};
      };`,
    );
    const loadedBy = (root: string): string[] => {
      const main = join(root, 'dist/program/main.cjs');
      const args = ['--require', hook, main, 'proxy', '-F', 'none', '-r', 'a@127.0.0.1:1'];
      const { stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      return stdout.split('\n').filter((path) => path.endsWith('sshcrypto.node'));
    };
    const put = (folder: string): string => {
      mkdirSync(join(folder, file, '..'), { recursive: true });
      writeFileSync(join(folder, file), '');
      return join(folder, file);
    };
    const strange = put(place); // a folder that isn't npm's
    const flat = put(join(place, 'node_modules'));
    const installed = join(place, 'node_modules/tunnel-vpn');
    cpSync(bundled, join(installed, 'dist/program'), { recursive: true });
    cpSync(join(ROOT, 'package.json'), join(installed, 'package.json'));
    assert.deepEqual(loadedBy(installed), [flat]);
    const nested = put(join(installed, 'node_modules'));
    assert.deepEqual(loadedBy(installed), [nested]);
    const other = join(place, 'other');
    renameSync(installed, other);
    rmSync(join(other, 'node_modules'), { recursive: true });
    assert.deepEqual(loadedBy(other), [], strange);
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
    const [head = '', ...rest] = licences.split(/^-{80}$/m);
    assert.match(head, /profiles of public clouds, from openstacksdk/);
    assert.match(rest.find((own) => /^\s*prom-client /.test(own)) ?? '', /Apache License/);
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
