/** In which order ./scripts/test runs its files, and how it ends. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { spread } from '../../../scripts/runtests.ts';

const PROGRAM = fileURLToPath(new URL('../../../scripts/runtests.js', import.meta.url));

describe('the order of test files', () => {
  it('has those of test/unit/ at equal distances between the others', () => {
    const others = ['contract/a', 'interop/b', 'netns/unit'].map((it) => `dist/test/${it}.test.js`);
    const units = [1, 2, 3, 4, 5, 6].map((it) => `dist/test/unit/${it}.test.js`);
    const [a, b, c] = others;
    const [one, two, three, four, five, six] = units;
    assert.deepEqual(spread([...others, ...units]), [
      ...[a, one, two],
      ...[b, three, four],
      ...[c, five, six],
    ]);
  });

  it('leaves nothing out, where there are only some of them', () => {
    for (const files of [['test/unit/a'], ['test/netns/a'], ['test/netns/a', 'test/netns/b']])
      assert.deepEqual(spread(files), files);
  });
});

describe('a run of test files', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-runtests-'));
  after(() => rmSync(directory, { recursive: true }));
  const file = (name: string, body: string): string => {
    const path = join(directory, `${name}.test.mjs`);
    writeFileSync(path, `import { test } from 'node:test';\n${body}\n`);
    return path;
  };
  const run = (...args: readonly string[]) => {
    // As from a shell: Node tells its test files by this variable that they are some.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    return spawnSync(process.execPath, [PROGRAM, ...args], { env, encoding: 'utf8' });
  };
  const passes = file('passes', `test('passes', () => {});`);
  const skips = file('skips', `test('skips', { skip: 'not here' }, () => {});`);

  it('ends with the summary, which counts what was skipped', () => {
    const { status, stdout } = run('2', passes, skips);
    assert.equal(status, 0, stdout);
    assert.match(stdout, /skips .*# not here/);
    assert.match(stdout, /tests 2\n.*suites 0\n.*pass 1\n.*fail 0\n.*\n.*skipped 1\n/);
  });

  it('fails with a test, with a file that ends early, and with one that is missing', () => {
    for (const failing of [
      file('fails', `test('fails', () => { throw new Error('x'); });`),
      file('ends', `process.exit(3);`),
      join(directory, 'missing.test.mjs'),
    ])
      assert.equal(run('2', passes, failing).status, 1, failing);
  });

  it('is refused without files, or a count', () => {
    assert.equal(run('2').status, 2);
    assert.equal(run(passes).status, 2);
  });
});
