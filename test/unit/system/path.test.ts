import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { findProgram, pathDirectories } from '../../../src/system/path.ts';

let directory: string;
const path = (name: string): string => join(directory, name);

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'tunnel-path-'));
  mkdirSync(path('bin/directory'), { recursive: true });
  mkdirSync(path('later'));
  for (const program of ['bin/program', 'later/program', 'later/directory']) {
    writeFileSync(path(program), '');
    chmodSync(path(program), 0o755);
  }
  writeFileSync(path('bin/text'), '', { mode: 0o644 });
  symlinkSync('nowhere', path('bin/dangling'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

describe('pathDirectories', () => {
  it('takes PATH as execvp(3) does', () => {
    assert.deepEqual(pathDirectories('/a::/b:'), ['/a', '.', '/b', '.']);
    const { PATH } = process.env;
    try {
      delete process.env['PATH'];
      assert.deepEqual(pathDirectories(), ['/bin', '/usr/bin']);
      process.env['PATH'] = '';
      assert.deepEqual(pathDirectories(), ['.']);
    } finally {
      process.env['PATH'] = PATH;
    }
  });
});

describe('findProgram', () => {
  it('finds the first that can be executed', () => {
    const directories = ['/nonexistent', path('bin'), path('later')];
    assert.equal(findProgram('program', directories), path('bin/program'));
    assert.equal(findProgram('directory', directories), path('later/directory'));
    for (const none of ['text', 'dangling', 'absent'])
      assert.equal(findProgram(none, directories), undefined, none);
    assert.equal(findProgram('program', []), undefined);
  });
});
