/** Texts as YAML, read back by PyYAML, which cloud-init reads with. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { blockLines, quotedScalar } from '../../../src/jumphost/yaml.ts';
import { moduleMissing } from '../../support/requirements.ts';

const READ =
  'import sys, json, yaml; print(json.dumps(yaml.safe_load(sys.stdin.buffer.read().decode())))';
const PYTHON = '/usr/bin/python3';

function read(text: string): unknown {
  const { stdout, stderr } = spawnSync(PYTHON, ['-c', READ], { input: text, encoding: 'utf8' });
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout);
}

const LINES = [
  'plain',
  'key: value',
  '- item',
  '# no comment',
  'a # b',
  '"quoted" and \'quoted\'',
  `{{ jinja }} \${terraform} %{if} $(shell) \`shell\` $HOME`,
  '& * ! | > % @ ?',
  '---',
  '...',
  '    indented, in the middle',
  '',
  'trailing space ',
  'back\\slash \\n \\u0041',
  'ümläut, 漢字, 🔑',
];

describe('texts as YAML', { skip: moduleMissing(PYTHON, 'yaml') }, () => {
  for (const [what, text] of [
    ['lines with everything that means something in YAML', `${LINES.join('\n')}\n`],
    ['one line', 'x\n'],
  ] as const) {
    it(`a block holds ${what}`, () => {
      const lines = (blockLines(text) ?? assert.fail()).map((line) => `   ${line}`);
      assert.deepEqual(read(`- a: |\n${lines.join('\n')}\n  b: 1\n`), [{ a: text, b: 1 }]);
    });
  }

  const others = {
    'no line break at its end': 'x',
    'two line breaks at its end': 'x\n\n',
    'a space at its beginning': ' x\n',
    'a line break at its beginning': '\nx\n',
    'a tab': 'a\tb\n',
    'a carriage return': 'a\r\nb\n',
    'a line break of Unicode': 'a\u2028b\u2029c\u0085d\n',
    'a byte order mark': 'a\ufeffb\n',
    'control characters': 'a\x00\x1b[2J\x7f\x9b\n',
    'an accent that is a character of its own': 'e\u0301\n',
    'nothing in it': '',
  };
  for (const [what, text] of Object.entries(others)) {
    it(`a text with ${what} is left to quotes`, () => {
      assert.equal(blockLines(text), undefined);
      assert.deepEqual(read(`a: ${quotedScalar(text)}\nb: 1\n`), { a: text, b: 1 });
    });
  }

  it('quotes hold every line that a block holds', () => {
    for (const line of LINES) assert.equal(read(quotedScalar(line)), line);
  });

  it('a block takes characters beyond the first plane, as well as quotes do', () => {
    assert.notEqual(blockLines('🔑\n'), undefined);
    assert.equal(read(quotedScalar('🔑')), '🔑');
  });
});
