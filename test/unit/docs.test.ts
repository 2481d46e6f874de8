/**
 * The documents: their links lead somewhere, their command lines can be typed, and each decision
 * says what has become of it.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { after, describe, it } from 'node:test';
import { optionShapes } from '../../src/cli/command.ts';
import { COMMANDS, commandNamed } from '../../src/cli/commands.ts';
import { runCommandLine } from '../../src/cli/program.ts';
import { isOption, readOptionWord } from '../../src/config/words.ts';
import { standInCommands } from '../support/commands.ts';
import {
  anchorsIn,
  DOTS,
  documentFiles,
  linksIn,
  linksOutOf,
  PAGES,
  ROOT,
  readPage as read,
  spokenLinesIn,
  tunnelLinesIn,
} from '../support/documents.ts';

const DECISIONS = readdirSync(join(ROOT, 'docs/decisions')).filter((name) => /^\d{4}-/.test(name));
const sourcesIn = (folder: string): string[] =>
  readdirSync(join(ROOT, folder)).filter((name) => name.endsWith('.ts'));

describe('documents', () => {
  const anchors = new Map(PAGES.map((page) => [page, anchorsIn(read(page))]));

  for (const page of PAGES) {
    it(`${page}: links lead somewhere`, () => {
      const links = linksIn(read(page));
      const dead = links.filter((link) => {
        if (/^[a-z]+:/.test(link)) return !/^(https:\/\/[\w.-]+\.[a-z]+(\/|$)|mailto:)/.test(link);
        const [path = '', anchor] = link.split('#');
        const target = path === '' ? page : normalize(join(dirname(page), path));
        if (!existsSync(join(ROOT, target))) return true;
        return anchor !== undefined && anchors.get(target)?.has(anchor) !== true;
      });
      assert.deepEqual(dead, []);
    });
  }
});

describe('the packed documents', () => {
  // --ignore-scripts: what npm would pack of what is here, without building it.
  const listed = JSON.parse(
    execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts', '--silent'], {
      cwd: ROOT,
      encoding: 'utf8',
    }),
  ) as readonly { readonly files: readonly { readonly path: string }[] }[];
  const packed = (listed[0]?.files ?? []).map((file) => file.path);
  const pages = packed.filter((path) => path.endsWith('.md'));

  it('are those of the repository', () => {
    assert.deepEqual(
      pages.filter((page) => !PAGES.includes(page)),
      [],
    );
    for (const page of ['README.md', 'docs/usage.md', 'docs/faq.md'])
      assert.ok(pages.includes(page), page);
  });

  it('link only to what is packed', () => {
    assert.deepEqual(linksOutOf(packed), []);
  });
});

const PIN = 'SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE';

describe('command lines of the documents', () => {
  const home = mkdtempSync(join(tmpdir(), 'tunnel-docs-'));
  after(() => rmSync(home, { recursive: true }));
  for (const [path, text] of Object.entries(documentFiles())) {
    const file = join(home, path.replace(/^~\//, ''));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text, { mode: 0o600 });
  }
  const words = (args: readonly string[]): string[] =>
    args.map((word) => word.replace(/^~\//, `${home}/`).replace(DOTS, PIN));

  let lines = 0;
  for (const page of PAGES) {
    let found: ReadonlyMap<string, readonly string[]>;
    try {
      found = new Map(tunnelLinesIn(read(page)).map((line) => [line.text, line.args]));
    } catch (cause) {
      it(`${page}: blocks without a language are shell text`, () => {
        throw new Error('mark drawings and output as ```text', { cause });
      });
      continue;
    }
    lines += found.size;
    for (const [text, args] of found)
      it(`${page}: ${text}`, async () => {
        process.chdir(home);
        process.env['HOME'] = home;
        delete process.env['XDG_CONFIG_HOME'];
        let outcomes = 0;
        const commands = standInCommands(async () => {
          outcomes += 1;
        });
        await runCommandLine(words(args), commands, {
          output() {
            outcomes += 1;
          },
          columns: 80,
        });
        assert.equal(outcomes, 1);
      });
  }

  it('are many', () => assert.ok(lines > 100, String(lines)));

  for (const page of PAGES) {
    const spoken = spokenLinesIn(read(page));
    if (spoken.length === 0) continue;
    it(`${page}: commands and options in its sentences exist`, () => {
      const wrong = spoken.filter((line) => {
        const [first = '', ...rest] = line.split(/\s+/).slice(1);
        const named = commandNamed(first);
        if (first === 'help') return false;
        if (named === undefined && /^[a-z]+$/.test(first)) return true;
        const shapes = optionShapes(COMMANDS[named ?? 'connect']);
        const given = named === undefined ? [first, ...rest] : rest;
        const end = given.indexOf('--');
        return given
          .slice(0, end === -1 ? given.length : end)
          .some(
            (word) =>
              isOption(word) &&
              !/^(-h|--help|-V|--version)$/.test(word) &&
              readOptionWord(word, shapes).options.length === 0,
          );
      });
      assert.deepEqual(wrong, []);
    });
  }
});

describe('README.md', () => {
  /** Its row, and where measurements.md has the figures: a section, and rows of its first table. */
  const FIGURES: Readonly<Record<string, readonly [section: string, ...rows: string[]]>> = {
    'one flow up / down, local link, MB/s': ['One flow, local link', 'up, MB/s', 'down, MB/s'],
    'its processor time here, s/GB': ['One flow, local link', 'up, CPU s/GB', 'down, CPU s/GB'],
    'one flow up / down at 50 ms, MB/s': [
      '50 ms round trip',
      '1 flow up, MB/s',
      '1 flow down, MB/s',
    ],
    'connects per second, 50 at once': [
      'Connections per second, local link',
      '50 at once, connects/s',
    ],
    'memory with 5000 idle flows, MB': ['5000 idle flows', '5000 idle flows, MB'],
  };
  const cellsOf = (line: string): string[] =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll('`', ''));

  it('compares by figures of measurements.md', () => {
    const rows = read('README.md')
      .split(/^## Compared$/m)[1]
      ?.split(/^## /m)[0]
      ?.split('\n')
      .filter((line) => line.startsWith('| '))
      .map(cellsOf);
    const [, ...peers] = rows?.find(([first]) => first === '') ?? [];
    assert.ok(peers.includes('tunnel'), peers.join());
    const measured = rows?.filter((cells) =>
      cells.slice(1).some((cell) => /^[\d./ ]+$/.test(cell)),
    );
    assert.deepEqual(measured?.map(([label]) => label).sort(), Object.keys(FIGURES).sort());
    for (const [label = '', ...cells] of measured ?? []) {
      const [section = '', ...wanted] = FIGURES[label] ?? [];
      const [, text = ''] = read('docs/measurements.md').split(`\n### ${section}\n`);
      const table = /^\|.*?(?=^$)/ms.exec(text)?.[0].split('\n').map(cellsOf) ?? [];
      const [, ...columns] = table[0] ?? [];
      for (const [index, cell] of cells.entries()) {
        const column = columns.indexOf(peers[index] ?? '') + 1;
        const figures: readonly string[] = wanted.map((row) => {
          const found = column === 0 ? '' : table.find(([first]) => first === row)?.[column];
          return (found ?? '').replace(/ \(.*/, '');
        });
        const expected: string = figures.every((figure) => figure === '')
          ? '-'
          : figures.join(' / ');
        assert.equal(cell, expected, `${label}: ${peers[index]}`);
      }
    }
  });
});

describe('docs/README.md', () => {
  it('lists each document once', () => {
    const pages = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
    const listed = linksIn(read('docs/README.md'));
    assert.deepEqual(
      listed.sort(),
      [...pages.filter((name) => name !== 'README.md'), 'decisions/README.md'].sort(),
    );
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
