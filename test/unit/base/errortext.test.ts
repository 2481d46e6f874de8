import assert from 'node:assert/strict';
import { it } from 'node:test';
import { errorText } from '../../../src/base/errortext.ts';

it('errorText has words for whatever is thrown', () => {
  assert.equal(errorText(new TypeError('no such thing')), 'no such thing');
  assert.equal(errorText('a word'), 'a word');
  assert.equal(errorText(undefined), 'undefined');
});
