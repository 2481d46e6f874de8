/** The directories of ssh processes, also where /proc isn't mounted. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { silentObserver } from '../../../src/observe/observer.ts';
import { makePrivateDirectory } from '../../../src/ssh/privatedirectory.ts';

const MODULE = new URL('../../../src/ssh/privatedirectory.js', import.meta.url).href;
const OBSERVER = new URL('../../../src/observe/observer.js', import.meta.url).href;
/** No process has it. */
const DEAD = (2 ** 22 + 1).toString(36);
const WITHOUT_PROC = 'mount -t tmpfs -o mode=555 tmpfs /proc && exec "$@"';
const isRoot = process.getuid?.() === 0;

describe('a private directory', () => {
  let base: string;
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'tunnel-private-'));
  });
  afterEach(() => rmSync(base, { recursive: true }));

  it('is made, and those of processes that are gone are removed', () => {
    const own = makePrivateDirectory(silentObserver, [base]);
    const [name = ''] = readdirSync(base);
    const [, , namespace = ''] = name.split('-');
    const left = join(base, `tunnel-ssh-${namespace}-${DEAD}-1-abcdef`);
    const foreign = join(base, `tunnel-ssh-1${namespace}-${DEAD}-1-abcdef`);
    for (const path of [left, foreign]) mkdirSync(path);
    makePrivateDirectory(silentObserver, [base]).remove();
    assert.ok(!existsSync(left));
    assert.ok(existsSync(foreign), "another namespace's");
    assert.ok(existsSync(own.path), 'of a process that runs');
    own.remove();
    assert.ok(!existsSync(own.path));
  });

  it('is made without /proc, and nothing is removed', { skip: !isRoot && 'needs root' }, () => {
    const other = join(base, `tunnel-ssh-0-${DEAD}-0-abcdef`);
    mkdirSync(other);
    const script = `
      import { makePrivateDirectory } from '${MODULE}';
      import { silentObserver } from '${OBSERVER}';
      console.log(makePrivateDirectory(silentObserver, [process.argv[1]]).path);`;
    const node = [process.execPath, '--input-type=module', '-e', script, base];
    const words = ['--mount', 'sh', '-c', WITHOUT_PROC, 'sh', ...node];
    const { stdout, stderr } = spawnSync('unshare', words, { encoding: 'utf8' });
    assert.match(stdout, /\/tunnel-ssh-0-/, stderr);
    assert.ok(existsSync(other));
  });
});
