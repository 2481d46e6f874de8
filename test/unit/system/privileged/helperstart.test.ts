import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
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
  MAX_REMOVED,
  MAX_REMOVED_DEPTH,
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

  it('and removes it with whatever the caller has put there, and nothing else', () => {
    const elsewhere = mkdtempSync(join(tmpdir(), 'tunnel-elsewhere-'));
    writeFileSync(join(elsewhere, 'helper'), 'mine');
    const full = makeDirectory(CALLER);
    symlinkSync(join(elsewhere, 'helper'), join(full, 'helper'));
    symlinkSync(elsewhere, join(full, 'directory'));
    symlinkSync('nowhere', join(full, 'nowhere'));
    mkdirSync(join(full, 'inner', 'inner'), { recursive: true });
    symlinkSync(elsewhere, join(full, 'inner', 'link'));
    writeFileSync(join(full, 'inner', 'inner', 'other'), '');
    chownSync(join(full, 'inner'), CALLER.uid, CALLER.gid);
    removeDirectory(full);
    assert.equal(existsSync(full), false);
    assert.equal(readFileSync(join(elsewhere, 'helper'), 'utf8'), 'mine');
    assert.notEqual(statSync(elsewhere).mode & 0o7777, 0, 'as it was');
    rmSync(elsewhere, { recursive: true });
  });

  it('and is not led elsewhere by a caller who changes it meanwhile', async () => {
    const elsewhere = mkdtempSync(join(tmpdir(), 'tunnel-elsewhere-'));
    writeFileSync(join(elsewhere, 'precious'), 'mine');
    // Swaps a directory and a link, as fast as it can.
    const swaps = `import ctypes, os, sys
os.chdir(sys.argv[1]); os.setgid(${CALLER.gid}); os.setuid(${CALLER.uid})
libc = ctypes.CDLL(None)
os.mkdir('one'); os.symlink(sys.argv[2], 'two'); print(flush=True)
while True:
  libc.renameat2(-100, b'one', -100, b'two', 2)
  if not os.path.lexists('one') and not os.path.lexists('two'): break
`;
    for (let i = 0; i < 5; i++) {
      const path = makeDirectory(CALLER);
      const child = spawn('/usr/bin/python3', ['-c', swaps, path, elsewhere], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const exited = once(child, 'exit');
      await once(child.stdout, 'data');
      removeDirectory(path);
      assert.equal(existsSync(path), false);
      child.kill('SIGKILL');
      await exited;
    }
    const { uid } = statSync(elsewhere);
    assert.equal(uid, 0);
    assert.equal(readFileSync(join(elsewhere, 'precious'), 'utf8'), 'mine');
    rmSync(elsewhere, { recursive: true });
  });

  it('and removes no more than it promises, and no deeper', () => {
    const many = makeDirectory(CALLER);
    for (let i = 0; i <= MAX_REMOVED; i++) writeFileSync(join(many, String(i)), '');
    removeDirectory(many);
    assert.equal(readdirSync(many).length, 1);
    const deep = makeDirectory(CALLER);
    mkdirSync(join(deep, ...Array(MAX_REMOVED_DEPTH).fill('d')), { recursive: true });
    removeDirectory(deep);
    assert.ok(existsSync(deep));
    for (const path of [many, deep]) rmSync(path, { recursive: true });
  });

  it('and removes what a part that was killed has left, when the next one starts', () => {
    const left = '/run/tunnel.4194304-abcdef'; // no process has this number (proc(5), pid_max)
    const ofUnit = '/run/tunnel-4194304-office'; // the RuntimeDirectory of tunnel@4194304-office
    for (const made of [left, ofUnit]) {
      mkdirSync(made, { recursive: true }); // it may be left of a run that was killed
      writeFileSync(join(made, 'other'), '');
    }
    const path = makeDirectory(CALLER);
    assert.equal(existsSync(left), false);
    assert.ok(existsSync(join(ofUnit, 'other')));
    rmSync(ofUnit, { recursive: true });
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
