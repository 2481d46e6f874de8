/** Runs tests of what uses the addon again, with a build under AddressSanitizer and UBSan. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run, SEARCH_PATH } from '../support/process.ts';
import { sanitizedMissing } from '../support/requirements.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const ADDON = join(ROOT, 'dist/native-test/tunnel.node');
const TIMEOUT_MS = 240_000;
/** What else is in dist, and needed by none of these tests. */
const LEFT_OUT = /^(?:native-test|deb|prebuilds)$/;

describe('addon under sanitizers', { skip: sanitizedMissing(ADDON) }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-sanitized-'));
  let preload = '';

  before(async () => {
    // The program loads its addon from one place only. So these tests run in a copy.
    for (const name of readdirSync(ROOT))
      if (name !== 'dist' && name !== '.git') symlinkSync(join(ROOT, name), join(directory, name));
    for (const name of readdirSync(join(ROOT, 'dist')))
      if (!LEFT_OUT.test(name))
        cpSync(join(ROOT, 'dist', name), join(directory, 'dist', name), { recursive: true });
    cpSync(ADDON, join(directory, 'dist/native/tunnel.node'));
    // Node has no sanitizers in it, and they must be loaded first.
    const paths = await Promise.all(
      ['libasan.so', 'libubsan.so'].map((name) => run(['cc', `-print-file-name=${name}`])),
    );
    preload = paths.map(({ stdout }) => stdout.trim()).join(' ');
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  it('checks what the addon does', () => {
    assert.ok(readFileSync(ADDON).includes('__asan_report_load'));
    assert.ok(readFileSync(ADDON).includes('__ubsan_handle_'));
  });

  for (const name of [
    'capture/forward',
    'capture/proxy',
    'flow',
    'native/descriptors',
    'native/transfer',
    'ssh/embedded/ssh2',
    'system/watch',
  ]) {
    it(`passes the tests of ${name}`, async () => {
      const { status, stdout } = await node(['--test', '--test-concurrency=2', ...filesOf(name)]);
      assert.equal(status, 0, stdout);
      assert.match(stdout, /^# pass [1-9]/m);
    });
  }

  /** All of a folder of the unit tests, or one. */
  function filesOf(name: string): string[] {
    const path = join(directory, 'dist/test/unit', name);
    const one = `${path}.test.js`;
    try {
      return readdirSync(path, { recursive: true, encoding: 'utf8' })
        .filter((file) => file.endsWith('.test.js'))
        .map((file) => join(path, file));
    } catch {
      return [one];
    }
  }

  /** Leaves out the variable by which the outer test runner marks its children. */
  function node(args: readonly string[]) {
    return run([process.execPath, ...args], {
      cwd: directory,
      env: {
        ...{ PATH: SEARCH_PATH, LANG: 'C', LD_PRELOAD: preload },
        // What Node itself keeps to its end isn't ours.
        ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1',
      },
      timeout: TIMEOUT_MS,
    });
  }
});
