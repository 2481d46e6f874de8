/** The documents: their links lead somewhere, and each decision says what has become of it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runCommandLine } from '../../src/cli/program.ts';
import { standInCommands } from '../support/commands.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const DECISIONS = readdirSync(join(ROOT, 'docs/decisions')).filter((name) => /^\d{4}-/.test(name));
const PAGES = [
  ...readdirSync(ROOT),
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' }).map((path) =>
    join('docs', path),
  ),
  'test/README.md',
].filter((path) => path.endsWith('.md'));

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const sourcesIn = (folder: string): string[] =>
  readdirSync(join(ROOT, folder)).filter((name) => name.endsWith('.ts'));

describe('documents', () => {
  for (const page of PAGES) {
    it(`${page}: links lead somewhere`, () => {
      const links = [...read(page).matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(([, link = '']) => link);
      const local = links.filter((link) => !/^[a-z]+:/.test(link));
      const dead = local.filter((link) => !existsSync(join(ROOT, dirname(page), link)));
      assert.deepEqual(dead, []);
    });
  }
});

describe('jump-hosts.md', () => {
  const lines = read('docs/jump-hosts.md')
    .replaceAll('\\\n', ' ')
    .split('\n')
    .filter((line) => line.startsWith('tunnel '));
  assert.ok(lines.length > 10);

  for (const line of new Set(lines))
    it(`can be typed: ${line}`, async () => {
      const words = execFileSync('sh', ['-c', `printf '%s\\n' ${line}`], { encoding: 'utf8' });
      const [, ...args] = words.trimEnd().split('\n');
      const run: string[] = [];
      await runCommandLine(
        args,
        standInCommands(async (name) => {
          run.push(name);
        }),
        { output: () => {}, columns: 80 },
      );
      assert.equal(run.length, 1);
    });
});

describe('architecture.md', () => {
  const page = read('docs/architecture.md');
  const section = (title: string) =>
    page.split(/^## /m).find((part) => part.startsWith(title)) ?? '';

  it('has a row for each limit of the command line and of jumphost', () => {
    const limits = ['src/config', 'src/jumphost', 'src/jumphost/kubernetes'].flatMap((folder) =>
      sourcesIn(folder).flatMap((file) =>
        [...read(join(folder, file)).matchAll(/^(?:export )?const (MAX_\w+) = /gm)].map(
          ([, name = '']) => name,
        ),
      ),
    );
    assert.ok(limits.length > 10);
    const rows = section('Limits');
    assert.deepEqual(
      limits.filter((name) => !rows.includes(`\`${name}\``)),
      [],
    );
  });

  it('has each folder once', () => {
    const rows = [...section('Parts').matchAll(/^\| (`.*?`) \| (?!may)/gm)].map(
      ([, first]) => first,
    );
    const tree = rows.slice(0, rows.indexOf('`main.ts`') + 1);
    assert.ok(tree.length > 30, tree.join(' '));
    assert.deepEqual(
      tree.filter((row, index) => tree.indexOf(row) !== index),
      [],
    );
  });
});

describe('decisions', () => {
  /**  */
  for (const name of DECISIONS) {
    it(`${name} says its status and date`, () => {
      const [title, , status, date] = read(`docs/decisions/${name}`).split('\n');
      assert.match(title ?? '', new RegExp(`^# ${Number(name.slice(0, 4))}\\. `));
      assert.match(status ?? '', /^Status: (accepted|revised|superseded by \d{4})$/);
      assert.match(date ?? '', /^Date: \d{4}-\d\d-\d\d(, revised \d{4}-\d\d-\d\d)?$/);
    });
  }

  it('are all in the index, and no other', () => {
    const listed = [...read('docs/decisions/README.md').matchAll(/\((\d{4}-[^)]+\.md)\)/g)];
    assert.deepEqual(listed.map(([, name]) => name).sort(), DECISIONS.toSorted());
  });

  it('that sources and documents speak of are there', () => {
    const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => join('src', path));
    const missing = [...PAGES, ...sources].flatMap((path) =>
      [...read(path).matchAll(/decisions\/(\d{4})/g)]
        .filter(([, number = '']) => !DECISIONS.some((name) => name.startsWith(number)))
        .map(([, number]) => `${path}: ${number}`),
    );
    assert.deepEqual(missing, []);
  });
});
