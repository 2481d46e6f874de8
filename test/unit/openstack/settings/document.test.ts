/** YAML as PyYAML reads it: values that are easily taken for others, and PyYAML beside it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  EndlessYaml,
  readYaml,
  UnreadableYaml,
} from '../../../../src/openstack/settings/document.ts';
import { plainScalar, Unquoted } from '../../../../src/openstack/settings/scalars.ts';
import { yamlDocuments } from '../../../support/yamlscalars.ts';

const PYTHON = '/usr/bin/python3';
const ORACLE = fileURLToPath(
  new URL('../../../../../test/support/pyyaml_oracle.py', import.meta.url),
);
const DOCUMENTS = 5000;
const SEED = 20261128;

/** As the oracle shows them. */
function shown(value: unknown): unknown {
  if (value instanceof Unquoted) return { [value.kind]: value.kind === 'time' ? '' : value.text };
  if (Array.isArray(value)) return value.map(shown);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shown(inner)]));
}

interface Answer {
  readonly values?: unknown;
  readonly error?: string;
}

function own(text: string): Answer {
  try {
    return { values: shown(readYaml(text)) };
  } catch (error) {
    if (error instanceof UnreadableYaml || error instanceof EndlessYaml)
      return { error: `${error.message}` };
    throw error;
  }
}

describe('YAML', () => {
  for (const [text, value] of [
    ['0089123', '0089123'],
    ['08123456', '08123456'],
    ['1234e5678', '1234e5678'],
    ['1e3', '1e3'],
    ['y', 'y'],
    ['yes', true],
    ['0123', { number: '83' }],
    ['1.50', { number: '1.5' }],
    ['12:30', { number: '750' }],
    ['0x1F', { number: '31' }],
    ['1.0e+16', { number: '1e+16' }],
    ['12345678901234567890123456789012', { number: '12345678901234567890123456789012' }],
    ['2021-01-01', { date: '2021-01-01' }],
    ['~', null],
    ['', null],
    ['!!str 0123', '0123'],
    ['"0123"', '0123'],
  ] as const) {
    it(`has for ${JSON.stringify(text)} what PyYAML has`, () => {
      assert.deepEqual(own(`a: ${text}`), { values: { a: value } });
    });
  }

  it('has anchors that are used any number of times, and merges as PyYAML does', () => {
    const uses = Array.from({ length: 10_000 }, (_, i) => `c${i}: *a`).join('\n');
    const { values } = own(`a: &a {b: [x]}\n${uses}\n`);
    assert.equal(Object.keys(values ?? {}).length, 10_001);
    const merged = 'a: &a {k: 1, l: 1}\nb: &b {k: 2, m: 2}\nc: {m: 3, <<: [*a, *b]}\n';
    assert.deepEqual((own(merged).values as Record<string, unknown>)['c'], {
      k: { number: '1' },
      l: { number: '1' },
      m: { number: '3' },
    });
  });

  it('has merges that double each other, in no time', () => {
    const lines = Array.from(
      { length: 40 },
      (_, i) => `a${i + 1}: &a${i + 1} {<<: [*a${i}, *a${i}]}`,
    );
    assert.equal(own(`a0: &a0 {k: v}\n${lines.join('\n')}\n`).error, undefined);
  });

  for (const [what, text, message] of [
    ['a tag of Ansible', 'a: !vault x', /the tag !vault/],
    ['another tag, without quoting it', 'a: !hunter2 x', /^(?!.*hunter2)/],
    ['a tagged mapping', 'a: !vault {b: c}', /the tag !vault/],
    ['a tab as indentation', '{"clouds":\n\t{}}', /tab/],
    ['a tab inside of text', 'a: b\tc', /tab/],
    ['a tab before a comment', 'a: b\t# c', /tab/],
    ['an anchor twice', 'a: &x 1\nb: &x 2', /anchor twice/],
    ['an alias before its anchor', 'a: *x\nb: &x 1', /alias/],
    ['a merge of text', 'a: {<<: x}', /mappings only/],
    ['an unprintable character', 'a: \u0007', /U\+0007/],
    ['a line break of YAML 1.1', 'a: b\u2028c', /U\+2028/],
    ['a value of the type "="', 'a: =', /quotes/],
  ] as const) {
    it(`is refused with ${what}`, () => {
      const { error } = own(text);
      assert.ok(error !== undefined, 'it is read');
      assert.match(error, message);
    });
  }

  for (const text of ['a: "b\tc"', "a: 'b\tc'", 'a: |\n  b\tc\n', '# a\tcomment\na: b']) {
    it(`may have a tab where PyYAML takes it: ${JSON.stringify(text)}`, () => {
      assert.equal(own(text).error, undefined);
    });
  }

  it('has an end', () => {
    for (const text of ['a: &a {b: *a}', 'a: &a {<<: {<<: *a}}'])
      assert.throws(() => readYaml(text), EndlessYaml);
  });
});

const noOracle =
  spawnSync(PYTHON, ['-c', 'import yaml']).status !== 0 && 'this test lacks python3-yaml';

describe('YAML, beside PyYAML', { skip: noOracle }, () => {
  it(`means the same to both, in ${DOCUMENTS} documents`, () => {
    const documents = yamlDocuments(DOCUMENTS, SEED);
    const { stdout, stderr } = spawnSync(PYTHON, [ORACLE], {
      input: JSON.stringify(documents),
      encoding: 'utf8',
      maxBuffer: 64 << 20,
      timeout: 60_000,
    });
    assert.notEqual(stdout, '', stderr);
    const answers = JSON.parse(stdout) as readonly Answer[];
    const differences = documents.flatMap((text, i) => {
      const theirs = answers[i] ?? {};
      const ours = own(text);
      if (agree(ours, theirs) || isStricter(ours)) return [];
      return [`${JSON.stringify(text)}: ${JSON.stringify(ours)}, PyYAML ${JSON.stringify(theirs)}`];
    });
    assert.deepEqual(differences, []);
    const read = answers.filter(({ error }) => error === undefined);
    assert.ok(read.length > DOCUMENTS / 3, `PyYAML reads only ${read.length}`);
  });
});

/** What PyYAML reads and this program refuses: the list is in docs/openstack.md. */
const STRICTER = [
  /^the tag !!(binary|set|omap|pairs)/,
  /^a key that is (empty|not text)$/,
  /needs quotes inside of brackets$/,
  // A lone "-" in brackets.
  /^(block in flow|multiline implicit key)$/,
  // An anchor with other letters than A-Z, a-z, 0-9, - and _.
  /^(an anchor \(&NAME\) of odd letters|missing char)$/,
];

function isStricter({ error }: Answer): boolean {
  return error !== undefined && STRICTER.some((message) => message.test(error));
}

function agree(ours: Answer, theirs: Answer): boolean {
  if (theirs.error !== undefined || ours.error !== undefined)
    return theirs.error !== undefined && ours.error !== undefined;
  return alike(ours.values, theirs.values);
}

/** Keys are text here, and in Python also numbers, booleans and None. */
function alike(ours: unknown, theirs: unknown): boolean {
  if (typeof ours !== 'object' || typeof theirs !== 'object' || ours === null || theirs === null)
    return ours === theirs;
  const [mine, others] = [Object.entries(ours), Object.entries(theirs)];
  if (Array.isArray(ours) !== Array.isArray(theirs) || mine.length !== others.length) return false;
  return mine.every(([key, value], i) => {
    const [otherKey, otherValue] = others[i] ?? [];
    return (key === otherKey || otherKey === pythonKey(key)) && alike(value, otherValue);
  });
}

function pythonKey(written: string): string {
  const value = plainScalar(written);
  if (value instanceof Unquoted && value.kind !== 'time') return `key:${value.text}`;
  if (value instanceof Unquoted) return 'key:time';
  if (typeof value === 'boolean') return value ? 'key:True' : 'key:False';
  return `key:${value ?? 'None'}`;
}
