/**
 * The linter finds every kind of promise that nobody waits for: an upgrade that lost one would
 * otherwise pass unnoticed.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const OXLINT = join(ROOT, 'node_modules/.bin/oxlint');

const DECLARATIONS = `
import type { EventEmitter } from 'node:events';
import { readFile } from 'node:fs/promises';
import { suite, test } from 'node:test';
declare function work(): Promise<number>;
declare const part: { close(): Promise<void>; maybe?(): Promise<void>; either(): void | Promise<void> };
declare const emitter: EventEmitter;
`;

const FOUND = [
  'work();',
  "readFile('/etc/hostname');",
  'part.close();',
  'part.maybe?.();',
  'part.either();',
  'work().then((n) => n + 1);',
  'work().finally(() => {});',
  '[part].map((one) => one.close());',
  'Promise.all([work()]);',
  'new Promise<void>((resolve) => resolve());',
  '(async () => work())();',
  'if (emitter) work();',
  "emitter.on('event', async () => { await work(); });",
  "emitter.once('event', () => work());",
  'setTimeout(async () => { await work(); }, 1);',
  '[part].forEach(async (one) => { await one.close(); });',
  'const run: () => void = async () => { await work(); };',
];

const ALLOWED = [
  'await work();',
  'void work();',
  'work().catch(() => {});',
  'work().then(() => {}, () => {});',
  "emitter.on('event', () => void work());",
  "test('a test', async () => { await work(); });",
  "suite('a suite', () => {});",
];

describe('the linter', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
    mkdirSync(join(directory, 'src'));
    for (const file of ['.oxlintrc.json', 'tsconfig.json', 'package.json'])
      copyFileSync(join(ROOT, file), join(directory, file));
    symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  });
  after(() => {
    rmSync(directory, { recursive: true });
  });

  /** The lines of `statements` about which it says something. */
  function complaints(statements: readonly string[]): string[] {
    const first = DECLARATIONS.split('\n').length;
    writeFileSync(
      join(directory, 'src/planted.ts'),
      `${DECLARATIONS}${statements.join('\n')}\nexport { readFile, suite, test };\n`,
    );
    const args = ['--type-aware', '--format', 'unix', 'src'];
    const { status, stdout, stderr } = spawnSync(OXLINT, args, {
      cwd: directory,
      encoding: 'utf8',
    });
    assert.equal(status, statements === ALLOWED ? 0 : 1, `${stdout}${stderr}`);
    const lines = new Set([...stdout.matchAll(/planted\.ts:(\d+):/g)].map(([, line]) => line));
    return statements.filter((_, index) => lines.has(String(first + index)));
  }

  it('finds a promise that nobody waits for', () => {
    assert.deepEqual(complaints(FOUND), FOUND);
  });

  it('allows one that is waited for, handled, or left alone on purpose', () => {
    assert.deepEqual(complaints(ALLOWED), []);
  });
});
