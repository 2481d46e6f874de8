import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import {
  expandArguments,
  MAX_ARGUMENTS,
  MAX_FILE_BYTES,
  readTargetsFile,
  splitWords,
} from '../../../src/config/argsfile.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { NotationError } from '../../../src/net/notation.ts';
import type { Place } from '../../../src/net/place.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-argsfile-'));
after(() => rmSync(directory, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

const ARGUMENT: Place = { kind: 'argument', name: 'argument' };
const S: Place = { kind: 'option', name: '-s' };
const line = (path: string, number: number): Place => ({ kind: 'file', path, line: number });

const usage = (message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof UsageError);
  assert.match(error.message, message);
  return true;
};

describe('splitWords', () => {
  const table: readonly (readonly [line: string, words: string[]])[] = [
    ['', []],
    ['   ', []],
    ['-r user@host 10/8', ['-r', 'user@host', '10/8']],
    ['\t-v  -v ', ['-v', '-v']],
    ['# comment', []],
    ['10/8 # comment', ['10/8']],
    ['10/8#not', ['10/8#not']],
    [`"a b" 'c d'`, ['a b', 'c d']],
    [`a"b c"d`, ['ab cd']],
    [`""`, ['']],
    [`'' x`, ['', 'x']],
    [`'a\\b'`, ['a\\b']],
    [`"a\\b \\" \\\\"`, ['a\\b " \\']],
    ['a\\ b \\# \\"', ['a b', '#', '"']],
    [`"# no comment"`, ['# no comment']],
    [`'it'\\''s'`, ["it's"]],
  ];
  for (const [line, words] of table) {
    it(`splits ${JSON.stringify(line)}`, () => assert.deepEqual(splitWords(line), words));
  }

  for (const line of ['"open', "it's", 'end\\', '"end\\']) {
    it(`refuses ${JSON.stringify(line)}`, () =>
      assert.throws(() => splitWords(line), NotationError));
  }

  it('reads back what a shell would quote', () => {
    const word = fc.string({ unit: 'binary' }).filter((text) => !/[\r\n]/.test(text));
    fc.assert(
      fc.property(fc.array(word), (words) => {
        const line = words.map((text) => `'${text.replaceAll("'", "'\\''")}'`).join(' ');
        assert.deepEqual(splitWords(line), words);
      }),
    );
  });
});

describe('expandArguments', () => {
  it('leaves other arguments alone', () => {
    const args = ['-r', 'user@host', '10/8', ''];
    assert.deepEqual(
      expandArguments(args),
      args.map((text) => ({ text, place: ARGUMENT })),
    );
  });

  it('puts the arguments of files in place, with their lines', () => {
    const inner = file('inner', '\uFEFF10.1.0.0/16\r\n\n10.2.0.0/16 10.3.0.0/16\n');
    const outer = file('outer', `# the jump host\n-r "user@host"\n@${inner} -v\n`);
    assert.deepEqual(expandArguments(['-q', `@${outer}`, '10.4.0.0/16']), [
      { text: '-q', place: ARGUMENT },
      { text: '-r', place: line(outer, 2) },
      { text: 'user@host', place: line(outer, 2) },
      { text: '10.1.0.0/16', place: line(inner, 1) },
      { text: '10.2.0.0/16', place: line(inner, 3) },
      { text: '10.3.0.0/16', place: line(inner, 3) },
      { text: '-v', place: line(outer, 3) },
      { text: '10.4.0.0/16', place: ARGUMENT },
    ]);
  });

  it('stops at --', () => {
    assert.deepEqual(
      expandArguments(['--', '@nofile']).map(({ text }) => text),
      ['--', '@nofile'],
    );
  });

  it('says which file and line is wrong', () => {
    const bad = file('bad', 'fine\n"open\n');
    assert.throws(
      () => expandArguments([`@${bad}`]),
      usage(/bad:2 "\\"open": a quoted text isn't closed/),
    );
    const missing = file('missing', `\n@${directory}/nowhere\n`);
    assert.throws(
      () => expandArguments([`@${missing}`]),
      usage(/missing:2: .*nowhere can't be read: there is no such file/),
    );
    assert.throws(() => expandArguments(['@']), usage(/argument: "@" is not followed by the name/));
    assert.throws(() => expandArguments([`@${directory}`]), usage(/it is a directory/));
    const binary = file('binary', Uint8Array.of(0xff, 0xfe, 0x0a));
    assert.throws(() => expandArguments([`@${binary}`]), usage(/is not text in UTF-8/));
  });

  it('ends a file that names itself, also one that doubles each time', () => {
    const self = join(directory, 'self');
    file('self', `@${self}\n`);
    assert.throws(
      () => expandArguments([`@${self}`]),
      usage(/self:1: .* nested more than 8 files deep/),
    );
    const bomb = file('bomb', 'x '.repeat(MAX_ARGUMENTS / 2));
    assert.equal(expandArguments([`@${bomb}`, `@${bomb}`]).length, MAX_ARGUMENTS);
    assert.throws(
      () => expandArguments([`@${bomb}`, `@${bomb}`, 'y']),
      usage(/more than 100000 arguments/),
    );
  });

  it('refuses an endless file', () => {
    assert.throws(() => expandArguments(['@/dev/zero']), usage(/larger than 16 MiB/));
    assert.equal(MAX_FILE_BYTES, 16 * 1024 * 1024);
  });
});

describe('readTargetsFile', () => {
  it('reads one a line, with comments', () => {
    const list = file(
      'list',
      '# offices\n10.0.0.0/8 # head office\n\n  192.168.0.0/16:443  \r\n10.1/16#x\n',
    );
    assert.deepEqual(readTargetsFile(list, S), [
      { text: '10.0.0.0/8', place: line(list, 2) },
      { text: '192.168.0.0/16:443', place: line(list, 4) },
      { text: '10.1/16#x', place: line(list, 5) },
    ]);
  });

  it('refuses two on a line, and files that it cannot read', () => {
    const list = file('two', '10/8\n10/8 11/8\n');
    assert.throws(
      () => readTargetsFile(list, S),
      usage(/two:2: "10\/8 11\/8" is more than one target/),
    );
    assert.throws(
      () => readTargetsFile(join(directory, 'none'), { kind: 'option', name: '-X' }),
      usage(/^-X: .*none can't be read/),
    );
  });

  it('reads an empty file as no targets', () => {
    assert.deepEqual(readTargetsFile(file('empty', ''), S), []);
  });
});
