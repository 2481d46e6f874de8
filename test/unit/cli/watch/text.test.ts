import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import stringWidth from 'string-width';
import { fit, inAscii, plot } from '../../../../src/cli/watch/text.ts';
import { processorMs } from '../../../support/until.ts';

describe('fit', () => {
  it('fills and cuts to exactly so many cells', () => {
    assert.equal(fit('abc', 5), 'abc  ');
    assert.equal(fit('abc', 5, 'right'), '  abc');
    assert.equal(fit('abcdef', 4), 'abc…');
    assert.equal(fit('abc', 0), '');
  });

  it('counts wide characters twice, and never halves one', () => {
    assert.equal(fit('日本語', 6), '日本語');
    assert.equal(fit('日本語', 5), '日本…');
    assert.equal(fit('日本語', 4), '日… ');
    for (const text of ['日本語の名前', 'é'.repeat(9), '👩‍👩‍👧‍👦👍🏽 x', '\u1b00'])
      for (let width = 0; width < 14; width++) assert.equal(stringWidth(fit(text, width)), width);
  });

  it('takes control characters out', () => {
    assert.equal(fit('a\x1b[31mb\x01\u202ec\n', 6), 'ab c  ');
  });

  it('is quick with a long text', () => {
    const began = processorMs();
    fit('x'.repeat(1_000_000), 80);
    assert.ok(processorMs() - began < 1_000);
  });
});

describe('plot', () => {
  it('scales to the largest value, the latest on the right', () => {
    assert.deepEqual(plot([0, 50, 100], 4, 1), ['  ▄█']);
    assert.deepEqual(plot([0, 50, 100], 4, 2), ['   █', '  ██']);
    assert.deepEqual(plot([1, 1, 1, 0], 2, 1), ['█ ']);
  });

  it('shows whatever is not nothing', () => {
    assert.deepEqual(plot([1, 1_000_000], 2, 1), ['▁█']);
    assert.deepEqual(plot([], 3, 1), ['   ']);
  });
});

it('inAscii keeps the number of cells', () => {
  assert.equal(inAscii('▁█…日é x'), '.#~??? x');
});
