import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { shellPath, shellWord } from '../../../src/net/notation.ts';
import { printable } from '../../../src/observe/printable.ts';

/** What may stand in a path, and what shells give a meaning. */
const TEXTS = [
  'plain/path-1.2:3@x%y+z,',
  '',
  'with a space',
  "it's",
  '"double"',
  '$(touch /tmp/owned)',
  '`id`',
  'a;b|c&d>e<f',
  '~root',
  '*?[a]',
  'back\\slash\\n',
  '#comment',
  '!history',
  'a\nb',
  "quote' and\ttab \\ and $x",
  '\u001b[31mred',
  'umläut 漢字',
  'right\u202eleft',
  'no\u00a0break\u2028line',
  '\u0001123',
];
const bash = existsSync('/bin/bash') ? false : 'bash is not installed';

describe('a word for the shell', () => {
  it('is that word, whatever is in it', { skip: bash }, () => {
    for (const text of TEXTS) {
      const said = execFileSync('/bin/bash', ['-c', `printf '<%s>' ${shellWord(text)}`]);
      assert.equal(said.toString(), `<${text}>`, text);
    }
  });

  it('is shown as it is, in one line', () => {
    for (const text of TEXTS) assert.equal(printable(shellWord(text)), shellWord(text), text);
  });

  it('stays without quotes where it needs none', () => {
    assert.equal(shellWord('/home/u/.ssh/id_rsa'), '/home/u/.ssh/id_rsa');
    assert.equal(shellPath('/home/u/.ssh/id_rsa'), '/home/u/.ssh/id_rsa');
  });

  it('of a path is no option', () => {
    assert.equal(shellPath('-rf'), './-rf');
    assert.equal(shellPath('-r f'), "'./-r f'");
    assert.equal(shellPath('-\n'), "$'./-\\012'");
  });
});
