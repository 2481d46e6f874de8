import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { describe, it } from 'node:test';
import { fileHintOf, reasonOf, systemCodeOf, writeReasonOf } from '../../../src/errors/reason.ts';

function thrownBy(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  assert.fail('nothing was thrown');
}

describe('reasonOf', () => {
  it("is an error's message, and the text of anything else", () => {
    assert.equal(reasonOf(new TypeError('no number')), 'no number');
    assert.equal(reasonOf('a text'), 'a text');
    assert.equal(reasonOf(undefined), 'undefined');
    assert.equal(reasonOf({ message: 'no error' }), '[object Object]');
  });
});

describe('systemCodeOf', () => {
  it("is the system's name of an error, and otherwise its text", () => {
    assert.equal(systemCodeOf(thrownBy(() => readFileSync('/nonexistent/file'))), 'ENOENT');
    assert.equal(systemCodeOf(new Error('x')), 'Error: x');
    assert.equal(systemCodeOf(7), '7');
  });
});

describe('writeReasonOf', () => {
  it('is in words where they are known, and never repeats the path', () => {
    const why = (path: string) => writeReasonOf(thrownBy(() => writeFileSync(path, 'x')));
    assert.equal(why('/nonexistent/file'), 'its directory does not exist');
    assert.equal(why(tmpdir()), 'it is a directory');
    assert.equal(why('/dev/null/file'), 'a part of its path is no directory');
    assert.equal(why('/dev/full'), 'no space left on its file system');
    assert.equal(writeReasonOf(new Error('gone')), 'gone');
  });
});

describe('fileHintOf', () => {
  it('says what a path is relative to only where it is relative', () => {
    assert.match(fileHintOf('a/b'), /relative to the current directory/);
    assert.equal(fileHintOf('/a/b'), 'check the path and its permissions');
  });
});
