import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { reasonOf, systemCodeOf } from '../../../src/errors/reason.ts';

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
