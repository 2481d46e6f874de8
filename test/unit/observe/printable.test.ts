import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MAX_PRINTABLE_LENGTH, printable, printableJson } from '../../../src/observe/printable.ts';

describe('printable', () => {
  const table: readonly (readonly [text: string, shown: string])[] = [
    ['plain text', 'plain text'],
    ['Zürich, 東京, 🙂', 'Zürich, 東京, 🙂'],
    ['one\r\ntwo', 'one two'],
    ['\u001b[31mred\u001b[0m', 'red'],
    ['\u001b]0;title\u0007x', 'x'],
    ['\u009b31mred', 'red'],
    ['a\u0000b\u007fc\u0085d', 'a b c d'],
    ['evil\u202Egpj.exe', 'evil gpj.exe'],
    ['zero\u200Bwidth\uFEFF', 'zero width'],
    ['line\u2028separator', 'line separator'],
    ['soft\u00adhyphen', 'soft hyphen'],
    ['not\ufff9es\ufffb,\u180emongolian', 'not es , mongolian'],
    ['filled\u3164\u115fup, vari\ufe0fant, bl\u2800ank', 'filled up, vari ant, bl ank'],
    ['tag\u{e0041}ged, sel\u{e0100}ected', 'tag ged, sel ected'],
    ['lone \ud800 surrogate', 'lone   surrogate'],
    ['\n', ''],
  ];
  for (const [text, shown] of table) {
    it(`shows ${JSON.stringify(text)}`, () => assert.equal(printable(text), shown));
  }

  it('never lets a control character through', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.doesNotMatch(printable(text), /[\p{Cc}\p{Cf}\u2028\u2029]/u);
      }),
    );
  });

  it('cuts what is too long', () => {
    assert.equal(printable('x'.repeat(MAX_PRINTABLE_LENGTH)).length, MAX_PRINTABLE_LENGTH);
    assert.equal(printable('x'.repeat(MAX_PRINTABLE_LENGTH + 1)).length, MAX_PRINTABLE_LENGTH + 3);
  });
});

describe('printableJson', () => {
  it('writes DEL and C1 controls as escapes, and loses nothing', () => {
    assert.equal(
      printableJson('a\u007fb\u0085\u009b2J\u00a0'),
      '"a\\u007fb\\u0085\\u009b2J\u00a0"',
    );
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const json = printableJson({ [text]: [text] });
        assert.doesNotMatch(json, /\p{Cc}/u);
        assert.deepEqual(JSON.parse(json), JSON.parse(JSON.stringify({ [text]: [text] })));
      }),
    );
  });

  it('indents with newlines', () => {
    assert.equal(printableJson([1], 2), '[\n  1\n]');
  });
});
