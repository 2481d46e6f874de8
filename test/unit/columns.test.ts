/**
 * Lines have at most 100 characters. Not meant are those that can't be broken sensibly:
 *
 * | file             | not meant                                                                |
 * |------------------|--------------------------------------------------------------------------|
 * | documents        | tables, what stands between fences, lines with a URL                     |
 * | comments         | lines with a URL                                                         |
 * | code             | imports, and lines that only a string, template or pattern makes so long |
 * | code in `src/`   | all of it: the formatter has broken what it can                          |
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const COLUMNS = 100;
const FOLDERS = ['src', 'test', 'scripts', 'native', 'docs'];
/** Endings of the files that are looked at. */
const KINDS = /(\.(ts|c|h|py|go|md|sh|yaml)|\/[a-z]+)$/i;

const COMMENT = /^\s*(\/\/|\/\*|\*|#)/;
const LITERAL = /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`/g;
const PATTERN = /\/(?:[^/\\\s]|\\.)(?:[^/\\]|\\.)*\/[a-z]*/g;

/** The numbers of the lines of `text` that are too long. */
function tooLong(path: string, text: string): number[] {
  const document = path.endsWith('.md');
  let fenced = false;
  let template = false;
  const found: number[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const inside = template;
    if (document && line.startsWith('```')) fenced = !fenced;
    else if (path.endsWith('.ts') && line.split(/(?<!\\)`/).length % 2 === 0) template = !template;
    if ([...line].length <= COLUMNS || line.includes('://')) continue;
    if (document ? fenced || line.startsWith('|') : inside || exempt(path, line)) continue;
    found.push(index + 1);
  }
  return found;
}

function exempt(path: string, line: string): boolean {
  if (line.startsWith('#!')) return true; // the kernel reads one line
  if (COMMENT.test(line)) return false;
  if (/^(import|export) .* from /.test(line)) return true;
  const bare = line.replace(LITERAL, "''").replace(PATTERN, '//x');
  if (path.startsWith('src/')) return !/\S.*\s\/\/ /.test(bare);
  // What begins a literal that goes on in the next line.
  return [...bare.replace(/`.*$/, '')].length <= COLUMNS;
}

/** Rendered for users: sshd's lines are as long as their lists. */
const GOLDEN = 'test/golden/';

function files(): string[] {
  const below = FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((path) =>
      join(folder, path),
    ),
  );
  return [...readdirSync(ROOT).filter((name) => name.endsWith('.md')), 'tunnel', ...below].filter(
    (path) =>
      !path.startsWith(GOLDEN) &&
      (KINDS.test(path) || path === 'tunnel') &&
      statSync(join(ROOT, path)).isFile(),
  );
}

describe('lines', () => {
  it(`have at most ${COLUMNS} columns`, () => {
    const found = files().flatMap((path) =>
      tooLong(path, readFileSync(join(ROOT, path), 'utf8')).map((line) => `${path}:${line}`),
    );
    assert.deepEqual(found, []);
  });

  it('are found in comments, documents and code', () => {
    const long = 'word '.repeat(25);
    const cases: readonly (readonly [path: string, text: string, found: boolean])[] = [
      ['docs/a.md', long, true],
      ['docs/a.md', `| ${long} |`, false],
      ['docs/a.md', `\`\`\`\n${long}\n\`\`\``, false],
      ['docs/a.md', `\`\`\`\n${long}\n\`\`\`\n${long}`, true],
      ['docs/a.md', 'é'.repeat(100), false],
      ['src/a.ts', `// ${long}`, true],
      ['src/a.ts', ` * ${long}`, true],
      ['src/a.ts', ` * see https://example.org/ ${long}`, false],
      ['src/a.ts', `const a = '${long}';`, false],
      ['src/a.ts', `const a = 1; // ${long}`, true],
      ['test/a.ts', `import { ${long} } from 'a';`, false],
      ['test/a.ts', `f(\`${long}\`, 1);`, false],
      ['test/a.ts', `const a = \`\n${long}\n\`;`, false],
      ['test/a.ts', `const a = /${long}/;`, false],
      ['test/a.ts', `f(${long.replaceAll(' ', ', ')}1);`, true],
      ['native/a.c', `  call(${long.replaceAll(' ', ', ')}1);`, true],
      ['scripts/a', `# ${long}`, true],
    ];
    for (const [path, text, found] of cases)
      assert.equal(tooLong(path, text).length > 0, found, `${path}: ${text}`);
  });
});
