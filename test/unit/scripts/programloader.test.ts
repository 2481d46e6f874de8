/** What is beside a bundle: taken only if it was made of that one, by who owns it. */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { cacheOf, load, precompile, read } from '../../../scripts/programloader.ts';

describe('the program loader', () => {
  let folder: string;
  let path: string;
  const isTaken = (): boolean => cacheOf(path, read(path)) !== undefined;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tunnel-loader-'));
    path = join(folder, 'run.cjs');
    writeFileSync(
      path,
      `const { sep } = require('node:path'); exports.place = [__filename, __dirname + sep];
exports.run = () => { throw new Error('here'); };`,
    );
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('loads as require() does, with and without the cache', () => {
    for (const made of [false, true]) {
      if (made) precompile(path);
      assert.equal(isTaken(), made);
      const { place, run } = load(path);
      assert.deepEqual(place, [path, join(folder, '/')]);
      assert.ok(typeof run === 'function');
      assert.throws(
        () => run(),
        (error: Error) => error.stack?.includes(`${path}:2:`) === true,
      );
    }
  });

  it('takes no cache of another file, also of the same length', () => {
    precompile(path);
    assert.ok(isTaken());
    writeFileSync(path, readFileSync(path, 'utf8').replace('here', 'HERE'));
    assert.ok(!isTaken());
    assert.deepEqual(load(path)['place'], [path, join(folder, '/')]);
    precompile(path);
    assert.ok(isTaken());
    appendFileSync(path, '\n');
    assert.ok(!isTaken());
  });

  it('takes no cache that others may write to', () => {
    for (const mode of [0o664, 0o646]) {
      precompile(path);
      assert.ok(isTaken());
      chmodSync(`${path}.cache`, mode);
      assert.ok(!isTaken());
    }
  });

  it('does without a cache that V8 refuses', () => {
    precompile(path);
    const cache = readFileSync(`${path}.cache`);
    cache.fill(7, cache.indexOf('\n') + 1);
    writeFileSync(`${path}.cache`, cache);
    assert.deepEqual(load(path)['place'], [path, join(folder, '/')]);
  });
});
