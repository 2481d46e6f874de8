import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  makeDirectory,
  removeAbandoned,
  removeDirectory,
  runHelper,
} from '../../../../src/system/privileged/helperstart.ts';

const CALLER = { uid: 47_110, gid: 47_111 };

describe('how root starts the helper', { skip: process.getuid?.() !== 0 && 'needs root' }, () => {
  it('in a directory of the caller’s, where the caller can put nothing else in its place', () => {
    const path = makeDirectory(CALLER);
    try {
      const { uid, gid, mode } = statSync(path);
      assert.deepEqual([uid, gid, mode & 0o7777], [CALLER.uid, CALLER.gid, 0o700]);
      const parent = statSync(join(path, '..'));
      assert.deepEqual([parent.uid, parent.mode & 0o022], [0, 0]);
    } finally {
      removeDirectory(path);
    }
    assert.equal(existsSync(path), false);
    removeDirectory(path);
  });

  it('and removes nothing but that and its socket', () => {
    const elsewhere = mkdtempSync(join(tmpdir(), 'tunnel-elsewhere-'));
    writeFileSync(join(elsewhere, 'helper'), 'mine');
    const link = makeDirectory(CALLER);
    symlinkSync(join(elsewhere, 'helper'), join(link, 'helper'));
    removeDirectory(link);
    assert.equal(existsSync(link), false);
    assert.equal(readFileSync(join(elsewhere, 'helper'), 'utf8'), 'mine');
    const full = makeDirectory(CALLER);
    mkdirSync(join(full, 'helper'));
    writeFileSync(join(full, 'other'), '');
    removeDirectory(full);
    assert.ok(existsSync(join(full, 'helper')) && existsSync(join(full, 'other')));
    rmSync(full, { recursive: true });
    rmSync(elsewhere, { recursive: true });
  });

  it('and removes what a part that was killed has left, when the next one starts', () => {
    const left = '/run/tunnel-4194304-abcdef'; // no process has this number (proc(5), pid_max)
    mkdirSync(left);
    const path = makeDirectory(CALLER);
    assert.equal(existsSync(left), false);
    removeAbandoned();
    assert.ok(existsSync(path), 'not that of one that runs');
    removeDirectory(path);
  });

  it('says what the helper says', async () => {
    const path = makeDirectory(CALLER);
    try {
      const { status, complaint } = await runHelper(CALLER, path);
      assert.notEqual(status, 0);
      assert.match(complaint, /No such file/, 'nobody listens there');
    } finally {
      removeDirectory(path);
    }
  });
});
