/**
 * What may stand at the cursor of a command line.
 *
 *   words before it ──► the command, what each word is ──► an option, its value, an operand
 *                                                      └─► exec: a word of the command itself
 *
 * Names of this machine come from `names`, which is asked only for what fits. The shell looks for
 * files by itself, and completes the command of exec.
 */
import { isOption, LIKE_A_COMMAND, readOptionWord } from '../../config/words.ts';
import type { NamedKind, ValueKind } from '../values.ts';
import type { CompletedCommand, CompletedOption, CompletionTable } from './table.ts';

export interface Candidate {
  /** The whole word. */
  readonly value: string;
  readonly help: string;
}

export interface Answer {
  /** What the shell is to add: files or directories, or the completion of another command. */
  readonly mode: 'words' | 'files' | 'directories' | 'command';
  /** files, directories: where the name begins in the word. command: its first word, by index. */
  readonly offset: number;
  readonly candidates: readonly Candidate[];
}

/** Names of a kind. */
export type Names = (kind: NamedKind) => Promise<readonly string[]>;

/** More would not fit on any screen. */
export const MAX_CANDIDATES = 2000;
/** Characters that show nothing, or reorder others: no name with one of them is offered. */
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]/u;
const SHELL_KINDS: Readonly<Partial<Record<ValueKind, Answer['mode']>>> = {
  file: 'files',
  directory: 'directories',
};

/** `before`: the words after the program's name. `current`: the word, up to the cursor. */
export async function complete(
  table: CompletionTable,
  before: readonly string[],
  current: string,
  names: Names,
): Promise<Answer> {
  const [first] = before;
  const named = table.find(({ name }) => name === first);
  if (first === 'help') return words(before.length === 1 ? commandsOf(table) : [], current);
  const command = named ?? table.find(({ name }) => name === 'connect');
  if (command === undefined) return words([], current);
  const begin = named === undefined ? 0 : 1;
  const state = read(command, before, begin);
  if (state.command !== undefined)
    return { mode: 'command', offset: state.command, candidates: [] };
  if (state.option !== undefined) return answerForValue(state.option, current, 0, names);
  if (!state.ended && isOption(current)) return optionAt(command, state.given, current, names);
  if (!state.ended && current === '-') return options(command, state.given, current);
  if (current.startsWith('@')) return { mode: 'files', offset: 1, candidates: [] };
  const last = command.operands.length - 1;
  const operand = command.operands[Math.min(state.operands, last)];
  const shown = before.length === 0 ? commandsOf(table) : [];
  if (state.operands > last && operand !== 'target' && operand !== 'file')
    return words([], current);
  if (command.name === 'exec' && current !== '' && LIKE_A_COMMAND.test(current))
    return { mode: 'command', offset: before.length, candidates: [] };
  if (typeof operand === 'object')
    return words([...shown, ...operand.map((value) => ({ value, help: '' }))], current);
  const { mode, offset, candidates } = await answerForValue(
    { kind: operand ?? 'none', words: [] },
    current,
    0,
    names,
  );
  return { mode, offset, candidates: [...words(shown, current).candidates, ...candidates] };
}

interface State {
  readonly given: ReadonlySet<CompletedOption>;
  /** The one whose value comes next. */
  readonly option: CompletedOption | undefined;
  readonly operands: number;
  /** After `--`. */
  readonly ended: boolean;
  /** The index of the first word of exec's command. */
  readonly command: number | undefined;
}

function read(command: CompletedCommand, before: readonly string[], begin: number): State {
  const given = new Set<CompletedOption>();
  let option: CompletedOption | undefined;
  let operands = 0;
  let ended = false;
  const runs = command.name === 'exec';
  for (let at = begin; at < before.length; at += 1) {
    const word = before[at] ?? '';
    if (option !== undefined) {
      option = undefined;
    } else if (word === '--' && !ended) {
      ended = true;
      if (runs) return { given, option, operands, ended, command: at + 1 };
    } else if (!ended && isOption(word)) {
      const found = readOptionWord(word, command.options);
      for (const one of found.options) given.add(one);
      if (found.value === 'next') option = found.options.at(-1);
    } else {
      const isCommand = runs && operands === 0 && LIKE_A_COMMAND.test(word);
      if (isCommand) return { given, option, operands, ended, command: at };
      if (!word.startsWith('@')) operands += 1;
    }
  }
  return { given, option, operands, ended, command: undefined };
}

function optionAt(
  command: CompletedCommand,
  given: ReadonlySet<CompletedOption>,
  current: string,
  names: Names,
): Promise<Answer> | Answer {
  const found = readOptionWord(current, command.options);
  const option = found.options.at(-1);
  if (option !== undefined && typeof found.value === 'number')
    return answerForValue(option, current, found.value, names);
  return options(command, given, current);
}

function options(
  command: CompletedCommand,
  given: ReadonlySet<CompletedOption>,
  current: string,
): Answer {
  const free = command.options.filter((option) => option.again || !given.has(option));
  const shown = free.flatMap(({ short, long, help }) =>
    [long, ...(current.startsWith('--') && long !== undefined ? [] : [short])].flatMap((value) =>
      value === undefined ? [] : [{ value, help }],
    ),
  );
  return words(shown, current);
}

/** `from`: where the value begins in the word. */
async function answerForValue(
  { kind, words: fixed }: Pick<CompletedOption, 'kind' | 'words'>,
  current: string,
  from: number,
  names: Names,
): Promise<Answer> {
  const head = current.slice(0, from);
  const value = current.slice(from);
  const listed = isNamed(kind) ? await names(kind) : [];
  const begin = head + (listed.length === 0 ? '' : endOfHead(kind, value));
  const candidates = [
    ...fixed.map((word) => ({ value: head + word, help: '' })),
    ...listed.map((name) => ({ value: begin + name, help: '' })),
  ];
  return { ...words(candidates, current), mode: SHELL_KINDS[kind] ?? 'words', offset: from };
}

function isNamed(kind: ValueKind): kind is NamedKind {
  return SHELL_KINDS[kind] === undefined && kind !== 'target' && kind !== 'none';
}

/** What stays before the name of a host: other hosts, and a user. */
function endOfHead(kind: ValueKind, value: string): string {
  if (kind !== 'host' && kind !== 'hops') return '';
  const comma = kind === 'hops' ? value.lastIndexOf(',') : -1;
  const at = value.lastIndexOf('@');
  const scheme = value.startsWith('ssh://') ? 'ssh://'.length : 0;
  return value.slice(0, Math.max(comma + 1, at + 1, scheme));
}

function commandsOf(table: CompletionTable): Candidate[] {
  return table.map(({ name, help }) => ({ value: name, help }));
}

function words(candidates: readonly Candidate[], current: string): Answer {
  const fitting = candidates.filter(
    ({ value }) => value.startsWith(current) && !UNSEEN.test(value),
  );
  const unique = new Map(fitting.map((candidate) => [candidate.value, candidate]));
  return { mode: 'words', offset: 0, candidates: [...unique.values()].slice(0, MAX_CANDIDATES) };
}
