/** What npm packs, and that it is the same wherever it is made. Compiles for all platforms. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { compilersMissing, PLATFORMS } from '../support/prebuilt.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

describe('the packed package', { skip: compilersMissing || noCheckout() }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-pack-'));
  after(() => rmSync(directory, { recursive: true }));

  /** A checkout as `git clone` makes it under a umask, and what npm packs there. */
  function packed(name: string, umask: string): { integrity: string; paths: string[] } {
    const copy = join(directory, name);
    for (const file of tracked()) {
      mkdirSync(join(copy, dirname(file)), { recursive: true });
      cpSync(join(ROOT, file), join(copy, file));
    }
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
    mkdirSync(join(copy, 'dist/src'), { recursive: true });
    writeFileSync(join(copy, 'dist/src', `left-by-${name}.js`), '');
    const mask = umask === '022' ? 'go-w' : 'go-rwx';
    execFileSync('chmod', ['-R', mask, copy]);
    const command = `umask ${umask}; npm pack --json --silent`;
    const [made] = JSON.parse(execFileSync('sh', ['-c', command], { cwd: copy, encoding: 'utf8' }));
    return {
      integrity: made.integrity,
      paths: made.files.map((file: { path: string }) => file.path),
    };
  }

  it('is the same, octet by octet, from two checkouts', () => {
    const one = packed('one', '022');
    const other = packed('other', '077');
    assert.deepEqual(one, other);
    const licences = ['LICENSE', 'dist/program/LICENSES.txt', 'native/LICENSE-musl.txt'];
    for (const path of ['dist/program/run.cjs', 'dist/src/library.js', 'tunnel', ...licences])
      assert.ok(one.paths.includes(path), path);
    for (const platform of PLATFORMS)
      assert.ok(one.paths.includes(`prebuilds/${platform}/tunnel.node`), platform);
    const folders =
      /^(dist\/program|dist\/src|dist\/man|native|prebuilds|docs|examples|packaging)\//;
    const files = /^(test\/)?[A-Z]+(\.md)?$|^(tunnel|package\.json)$/;
    const strange = one.paths.filter((path) => !folders.test(path) && !files.test(path));
    assert.deepEqual(strange, []);
  });
});

function tracked(): string[] {
  const files = execFileSync('git', ['ls-files', '-z', '-co', '--exclude-standard'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  return files.split('\0').filter((file) => file !== '');
}

function noCheckout(): string | false {
  try {
    return tracked().length > 0 ? false : 'not a git checkout';
  } catch {
    return 'not a git checkout';
  }
}
