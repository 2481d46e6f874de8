import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { marked } from 'marked';
import { listOfPages, manualPages } from '../../../../scripts/man.ts';
import { blocks, escaped, filled, literal } from '../../../../scripts/manual/roff.ts';

describe('text for man(7)', () => {
  it('has no macros and escapes of its own', () => {
    assert.deepEqual(filled(escaped('.SH "x" \\fB -a')), ['\\&.SH \\(dqx\\(dq \\efB \\-a']);
    assert.deepEqual(literal("a\n.b\n'c\n\n~d"), [
      ...['.nf', 'a', '\\&.b', '\\(aqc', '\\&', '\\(tid', '.fi'],
    ]);
  });

  it('is filled to lines of at most 78 characters', () => {
    const lines = filled('word '.repeat(100));
    assert.ok(lines.length > 5 && lines.every((line) => line.length <= 78));
  });

  it('is made of the Markdown of the documents', () => {
    const text = [
      '## One\n\nA `b|c` **d** [e](f.md#g) <h>\\| &.\n\n- i\n- j\n\n### Two\n\n```\n.k\n```\n',
      '| l | m |\n|---|---|\n| `n` | o |\n\n| p | q | r |\n|---|---|---|\n| 1 | 2 | 3 |\n',
    ].join('\n');
    assert.deepEqual(blocks(marked.lexer(text), 'SH'), [
      ...['.SH "ONE"', '.PP', 'A \\fBb|c\\fR \\fBd\\fR e <h>| &.'],
      ...['.IP \\(bu 2', 'i', '.IP \\(bu 2', 'j', '.SS "Two"'],
      ...['.PP', '.RS 4', '.nf', '\\&.k', '.fi', '.RE', '.TP', '\\fBn\\fR', 'o'],
      ...['.TP', '1', '\\fIq\\fR: 2', '.br', '\\fIr\\fR: 3'],
    ]);
  });
});

describe('package.json', () => {
  it('lists the manual pages (npm run man)', () => {
    const manifest = readFileSync(new URL('../../../../../package.json', import.meta.url), 'utf8');
    assert.ok(manifest.includes(`"man": ${listOfPages(manualPages())}`));
  });
});
