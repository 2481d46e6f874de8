/** What is written is what parsers of YAML 1.1 and 1.2 read. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parse } from 'yaml';
import { document, type YamlMap } from '../../../../src/jumphost/kubernetes/yaml.ts';

function assertReadAlike(value: YamlMap): void {
  const text = document(['about'], value);
  for (const version of ['1.1', '1.2'] as const)
    assert.deepEqual(parse(text, { version }), value, text);
}

const SPECIALS = [
  ...['', ' ', '-', '---', '...', '? a', ': b', 'a: b', 'a #b', '#', '&a', '*a', '!a', '|', '>'],
  ...[
    '%a',
    '@a',
    '`a',
    '{}',
    '[]',
    '{{ x }}',
    '$' + '{x}',
    '$(x)',
    "'",
    '"',
    '\\',
    'a\tb',
    ' a',
    'a ',
  ],
  ...['yes', 'No', 'ON', 'off', 'y', 'N', 'true', 'null', '~', '1', '0x1f', '1e3', '0440', '0o17'],
  ...['1:20', '2026-11-28', '.inf', '-.INF', '.nan', '=', '<<', '1_000', '+1', 'a,b', 'a]', 'a}'],
  ...['a\nb', 'a\nb\n', '\n', '\na\n', ' a\n', '\ta\n', 'a\n\n', 'a\n \nb\n', 'a\r\nb\n', 'a\r'],
  ...['\u0000', '\u007f', '\u0085', '\u2028', '\u2029', '\ufeff', '\ufffe', '\u00e4\u{1f600}\n'],
  ...['key: |\n  a\n', '---\na\n', '# a\n', 'a\n\tb\n', 'a\u2028b\n', 'a\u0085b\n'],
];

describe('YAML of manifests', () => {
  it('takes every special text as a value, a key and an item', () => {
    for (const text of SPECIALS) {
      assertReadAlike({ a: text, b: { c: text, d: [text, { e: text, f: text }] } });
      // A key with "#" is a comment; no manifest has others that begin so.
      if (!text.startsWith('#') && text !== '<<') assertReadAlike({ x: { [text]: text } });
    }
  });

  it('takes any text', () => {
    const texts = fc.string({ unit: 'grapheme', maxLength: 40 });
    fc.assert(
      fc.property(texts, texts, (a, b) => assertReadAlike({ a, b: [b, { c: a, d: [] }], e: {} })),
    );
  });

  it('leaves numbers and switches what they are', () => {
    assertReadAlike({ a: 0, b: -7, c: 65535, d: true, e: [false, 1] });
  });

  it('keeps a comment a comment, also where YAML 1.1 ends lines', () => {
    const about = 'x\u2028kind: Secret\u2029kind: Secret';
    const text = document([about], { '#a': about, kind: 'A', list: [{ '#b': about, c: 1 }] });
    assert.doesNotMatch(text, /[\u2028\u2029]/);
    assert.deepEqual(parse(text, { version: '1.1' }), { kind: 'A', list: [{ c: 1 }] });
    assert.match(text, /^ {2}# x\?kind: Secret\?kind: Secret\n {2}- c: 1$/m);
  });

  it('writes a comment above what it is about', () => {
    assert.equal(
      document(['about'], { list: [{ '#first': 'one', a: 1, '#second': 'two\nthree', b: 2 }] }),
      '# about\nlist:\n  # one\n  - a: 1\n    # two\n    # three\n    b: 2\n',
    );
  });
});
