import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UsageError } from '../../../src/errors/errors.ts';
import { NotationError } from '../../../src/net/notation.ts';
import {
  filePrefix,
  formatPlace,
  oneOf,
  type Place,
  placeOfOption,
  readAt,
} from '../../../src/net/place.ts';

const LINE: Place = { kind: 'file', path: 'args.txt', line: 2 };
const ARGUMENT: Place = { kind: 'argument', name: 'target' };

describe('a place', () => {
  for (const [place, text, prefix] of [
    [ARGUMENT, 'target', ''],
    [{ kind: 'option', name: '-p' }, '-p', ''],
    [LINE, 'args.txt:2', 'args.txt:2: '],
    [{ ...LINE, option: '-p' }, 'args.txt:2: -p', 'args.txt:2: '],
    [{ kind: 'file', path: '-', line: 3 }, 'standard input:3', 'standard input:3: '],
    [{ kind: 'ssh-config', keyword: 'ProxyJump' }, 'ProxyJump', ''],
  ] as const) {
    it(`is shown as ${text}`, () => {
      assert.equal(formatPlace(place), text);
      assert.equal(filePrefix(place), prefix);
    });
  }

  it('of an option keeps the file', () => {
    assert.deepEqual(placeOfOption(ARGUMENT, '-p'), { kind: 'option', name: '-p' });
    assert.equal(formatPlace(placeOfOption(LINE, '-p')), 'args.txt:2: -p');
  });

  it('begins the message of what is wrong there', () => {
    const wrong = (message: string) => () =>
      readAt(LINE, 'x', 'form', () => {
        throw new NotationError(message);
      });
    assert.throws(wrong('is bad'), /^UsageError: args\.txt:2 "x": is bad/);
    assert.throws(wrong('"x" is bad'), /^UsageError: args\.txt:2: "x" is bad/);
    assert.throws(() => oneOf(['a', 'b'], 'c', LINE, 'hint'), UsageError);
    assert.equal(oneOf(['a', 'b'], 'b', LINE, 'hint'), 'b');
  });
});
