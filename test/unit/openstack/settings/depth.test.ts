/** Files of clouds that are nested to overflow the stack, and those that people have. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { findFile, isMapping } from '../../../../src/openstack/settings/files.ts';
import { withAuth } from '../../../../src/openstack/settings/merge.ts';
import { isShallowText, isShallowValue, MAX_DEPTH } from '../../../../src/yaml/depth.ts';
import { processorMs } from '../../../support/until.ts';

const directory = mkdtempSync(join(tmpdir(), 'clouds-'));
after(() => rmSync(directory, { recursive: true }));

function load(name: string, text: string) {
  const path = join(directory, name);
  writeFileSync(path, text);
  try {
    return findFile(
      'clouds',
      { env: { OS_CLIENT_CONFIG_FILE: path }, directory, home: '/' },
      () => {
        throw new Error('the file is read');
      },
    )?.content;
  } finally {
    rmSync(path);
  }
}

const block = (depth: number) =>
  Array.from({ length: depth }, (_, i) => `${' '.repeat(i)}a:`).join('\n');

describe('files of clouds', () => {
  for (const [what, text] of [
    ['lists', '['.repeat(12_000)],
    ['lists that are closed', `${'['.repeat(6000)}${']'.repeat(6000)}`],
    ['mappings', '{'.repeat(12_000)],
    ['mappings with keys', '{a: '.repeat(3000)],
    ['lists in one line', '- '.repeat(6000)],
    ['keys that are mappings', '? '.repeat(6000)],
    ['keys in one line', 'a: '.repeat(4000)],
    ['indented mappings', block(500)],
    ['as much as a file may have', '['.repeat(1024 * 1024)],
  ] as const) {
    it(`that nest ${what} are refused before they are parsed`, () => {
      const before = processorMs();
      const refused = { code: 'openstack-config', message: /nested more than 32 deep/ };
      assert.throws(() => load('x.yaml', text), refused);
      assert.throws(() => load('x.json', text), refused);
      assert.ok(processorMs() - before < 2000);
    });
  }

  it('in JSON are refused for the same', () => {
    const text = `{"clouds":${'{"a":'.repeat(5000)}1${'}'.repeat(5001)}`;
    assert.throws(() => load('x.json', text), /nested more than 32 deep/);
  });

  it('with an alias inside its own anchor are refused', () => {
    for (const text of ['clouds: &a\n  x: *a\n', 'clouds:\n  x: &b\n    auth: [1, {y: *b}]\n'])
      assert.throws(() => load('x.yaml', text), /nested more than 32 deep/);
  });

  it('with aliases that nest each other are refused', () => {
    const deep = (inner: string) => `${'{x: '.repeat(12)}${inner}${'}'.repeat(12)}`;
    const lines = [0, 1, 2].map((i) => `k${i}: &a${i} ${deep(`*a${i - 1}`)}`);
    assert.throws(() => load('x.yaml', ['k: &a-1 1', ...lines].join('\n')), /nested more than 32/);
  });

  it('with mappings that merge each other without end in sight are refused soon', () => {
    const chain = Array.from({ length: 10_000 }, (_, i) => ` - &a${i + 1} {<<: *a${i}, k${i}: 1}`);
    const wide = Array.from({ length: 2000 }, (_, i) => `k${i}: 1`).join(', ');
    const again = Array.from({ length: 20_000 }, () => '*w').join(', ');
    for (const text of [
      ['x: &a0 {k: 1}', 'm:', ...chain].join('\n'),
      `x: &w {${wide}}\nm: {<<: [${again}]}`,
    ]) {
      const before = processorMs();
      assert.throws(() => load('x.yaml', text), /stands for more than 1000000 values/);
      assert.ok(processorMs() - before < 15_000);
    }
  });

  it('with the name of the prototype as a key have it as a key', () => {
    const content = load('x.yaml', 'auth: {__proto__: {password: p}, username: u}');
    assert.ok(content !== undefined);
    const { auth } = withAuth({}, content);
    assert.ok(isMapping(auth));
    assert.deepEqual(Object.keys(auth), ['__proto__', 'username']);
    assert.equal(auth['password'], undefined);
  });

  it('as people have them are read', () => {
    const text = `
defaults: &defaults
  auth: &auth {auth_url: 'https://cloud.example:5000/v3', username: u}
  regions: [{name: a, values: {networks: [{name: n, routes_externally: true}]}}]
clouds:
  one: {<<: *defaults, region_name: a}
  two:
    auth:
      <<: *auth
      password: "a [ b { c - d ? e"
    regions:
      - name: b
        values:
          networks:
            - name: n
              default_interface: true
`;
    assert.deepEqual(Object.keys(load('x.yaml', text) ?? {}), ['defaults', 'clouds']);
    const many = Array.from({ length: 500 }, (_, i) => `  c${i}: {auth: {a: [1, 2]}}`);
    assert.ok(load('x.yaml', ['clouds:', ...many].join('\n')));
  });

  it('may have some levels less than the limit, whatever their form', () => {
    for (const text of [
      block(MAX_DEPTH - 1),
      '['.repeat(MAX_DEPTH - 1),
      '{a: '.repeat(MAX_DEPTH - 1),
      '- '.repeat(MAX_DEPTH - 1),
    ])
      assert.ok(isShallowText(text), text.slice(0, 8));
    let value: unknown = 1;
    for (let i = 0; i < MAX_DEPTH; i++) value = { value };
    assert.equal(isShallowValue(value), true);
    assert.equal(isShallowValue([value]), false);
  });
});
