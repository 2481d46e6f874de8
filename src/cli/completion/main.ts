/**
 * The hidden command `tunnel __complete`, which the scripts of `tunnel completion` call. `tunnel`
 * starts it in place of main.ts, because it must answer while somebody types.
 *
 *   bash LINE WORD         the line up to the cursor, and the part of it that bash replaces
 *   zsh|fish -- WORD...    the words up to the cursor, after the program's name
 *
 * Prints a line `MODE OFFSET`, and one for each candidate: for bash the text to insert, otherwise
 * the word, a tab and its description. It never fails, says nothing else, and starts nothing.
 */
import { readFileSync, statSync } from 'node:fs';
import { print } from '../output.ts';
import { type Answer, complete } from './answer.ts';
import { quotedFor, splitLine } from './line.ts';
import { namesOf } from './names.ts';
import type { CompletionTable } from './table.ts';

/** For files on a network that doesn't answer, and what somebody has made a FIFO. */
const GIVE_UP_MS = 1000;
/** In the folder of the compiled modules: scripts/completiontable.ts writes it. */
const TABLE = new URL('./table.json', import.meta.url);
const COMMANDS = new URL('../commands.js', import.meta.url);

/** The written table, or the declarations themselves if they are newer. */
async function loadTable(): Promise<CompletionTable> {
  try {
    if (statSync(TABLE).mtimeMs >= statSync(COMMANDS).mtimeMs)
      return JSON.parse(readFileSync(TABLE, 'utf8'));
  } catch {
    // not written yet
  }
  const [{ COMMANDS: declared }, { completionTable }] = await Promise.all([
    import('../commands.ts'),
    import('./table.ts'),
  ]);
  return completionTable(Object.values(declared));
}

async function answer([shell, ...given]: readonly string[]): Promise<string> {
  const table = await loadTable();
  const names = (kind: Parameters<typeof namesOf>[0]) => namesOf(kind, process.env);
  if (shell !== 'bash') {
    const words = given.slice(1);
    const found = await complete(table, words.slice(0, -1), words.at(-1) ?? '', names);
    return textOf(
      found,
      found.candidates.map(({ value, help }) => `${value}\t${help}`),
    );
  }
  const [line = '', replaced = ''] = given;
  const words = splitLine(line).slice(1);
  const current = words.pop() ?? { raw: '', text: '', open: '' as const };
  const before = words.map(({ text }) => text);
  const found = await complete(table, before, current.text, names);
  if (found.mode === 'command') {
    const isFirst = found.offset >= words.length;
    const marker = before[found.offset - 1] === '--' || isFirst ? '' : words[found.offset]?.raw;
    return textOf(found, [marker ?? '']);
  }
  // bash replaces only what follows the last `:`, `=` or `@`.
  const kept = current.raw.endsWith(replaced)
    ? current.raw.slice(0, current.raw.length - replaced.length)
    : '';
  const head = splitLine(kept).at(-1)?.text ?? '';
  return textOf(
    found,
    found.candidates
      .filter(({ value }) => value.startsWith(head))
      .map(({ value }) => quotedFor(value.slice(head.length), current.open)),
  );
}

function textOf({ mode, offset }: Answer, lines: readonly string[]): string {
  return `${[`${mode} ${offset}`, ...lines].join('\n')}\n`;
}

/** Never rejects. process.exit() would wait for what is still being opened. */
async function giveUp(): Promise<void> {
  try {
    const { addon } = await import('../../native/addon.ts');
    addon().leave(0);
  } catch {
    process.exit(0); // the native part isn't built
  }
}

setTimeout(() => void giveUp(), GIVE_UP_MS).unref();
void answer(process.argv.slice(2))
  .then((text) => print(text))
  .catch(() => {}) // a prompt is no place for errors
  .finally(() => process.exit(0));
