/**
 * What a line of another program becomes while its words are read (pasted.ts): words of tunnel, and
 * notes on what has no place in them. Nothing is dropped in silence: a rule either adds words or
 * says why it adds none.
 */
import { UsageError } from '../errors/errors.ts';
import { quoted, shellWord } from '../net/notation.ts';
import { isOption, type OptionShape, readOptionWord } from './words.ts';

/** Words that belong together, and what they were before. */
interface Part {
  /** As it was written: `-f`. */
  readonly from: string;
  readonly words: readonly string[];
}

/** A line of tunnel, and what it doesn't say. */
export interface Translation {
  /** `proxy`, or nothing for `connect`. */
  readonly command: readonly string[];
  readonly words: readonly string[];
  /** What is still to be filled in: `TARGET...`; it is no word of a shell. */
  readonly missing: readonly string[];
  /** Sentences for the user, without a full stop. */
  readonly notes: readonly string[];
}

/** Adds to a draft what an option, or its value, becomes. `name`: as it was written. */
export type Rule = (value: string, draft: Draft, name: string) => void;

export interface PastedOption extends OptionShape {
  readonly rule: Rule;
}

export class Draft {
  readonly parts: Part[] = [];
  /** Of -l. */
  user: string | undefined;
  /** Of -W: what standard input and output are to be connected to. */
  conduit: string | undefined;
  /** Of -g. */
  everybody = false;
  /** Of -D, as they were written. */
  readonly socks: string[] = [];
  readonly #notes: string[] = [];
  /** Options by the reason for which they have no part. */
  readonly #leftOut = new Map<string, Set<string>>();

  add(from: string, ...words: readonly string[]): void {
    this.parts.push({ from, words });
  }

  note(sentence: string): void {
    this.#notes.push(sentence);
  }

  /** Of -l, for a line that has -r itself, or a profile. */
  addUser(): void {
    const { user } = this;
    if (user === undefined) return;
    if (!this.has('-r')) this.add('-l', '-o', `User=${user}`);
    for (const [index, { from, words }] of this.parts.entries()) {
      const [first, host = ''] = words;
      if (first === '-r') this.parts[index] = { from, words: ['-r', withUser(host, user)] };
    }
  }

  /** `why` completes "-N is left out: ...". */
  leaveOut(name: string, why: string): void {
    const names = this.#leftOut.get(why) ?? new Set();
    this.#leftOut.set(why, names.add(name));
  }

  get notes(): readonly string[] {
    const leftOut = [...this.#leftOut].map(
      ([why, names]) =>
        `${[...names].join(', ')} ${names.size === 1 ? 'is' : 'are'} left out: ${why}`,
    );
    return [...this.#notes, ...leftOut];
  }

  has(option: string): boolean {
    return this.parts.some(({ words: [first] }) => first === option);
  }

  /** All words, of those that `command` takes. The others are left out. */
  wordsFor(command: string, options: readonly OptionShape[]): string[] {
    const names = new Set(options.flatMap(({ short, long }) => [short, long]));
    return this.parts.flatMap(({ from, words }) => {
      const [first = ''] = words;
      if (!first.startsWith('-') || names.has(first.replace(/=.*/, ''))) return words;
      if (readOptionWord(first, options).options.length > 0) return words;
      this.leaveOut(from, `"tunnel ${command}" has no such option`);
      return [];
    });
  }
}

export const TARGET = ['TARGET...'];
export const REMOTE = ['-r USER@HOST'];
export const WHAT_TARGETS_ARE = 'TARGET is what to reach through it, such as 10.0.0.0/8';

/** The hint has the line alone, so that it can be copied. */
export function pasted(what: string, { command, words, missing, notes }: Translation): UsageError {
  const line = ['tunnel', ...command, ...words].map(shellWord);
  return new UsageError([what, ...notes].join('; '), {
    hint: `write: ${[...line, ...missing].join(' ')}`,
  });
}

export const keep =
  (...words: readonly string[]): Rule =>
  (value, draft, name) =>
    draft.add(name, ...words, value);
export const keepSwitch =
  (...words: readonly string[]): Rule =>
  (_value, draft, name) =>
    draft.add(name, ...words);
/** `why` completes "-N is left out: ...". */
export const leaveOut =
  (why: string): Rule =>
  (_value, draft, name) =>
    draft.leaveOut(name, why);
/** `why` completes "-X has no counterpart: ...". */
export const lacks =
  (why: string): Rule =>
  (_value, draft, name) =>
    draft.note(`${name} has no counterpart: ${why}`);

export function valued(rule: Rule, short: string | undefined, long?: string): PastedOption {
  return { short, long, takesValue: true, rule };
}

export function flag(rule: Rule, short: string | undefined, long?: string): PastedOption {
  return { short, long, takesValue: false, rule };
}

/**
 * Applies the rules of the options; returns the other words. `first operand`: options go on after
 * the first other word (ssh's host), and end with the next (its command).
 */
export function readWords(
  words: readonly string[],
  options: readonly PastedOption[],
  draft: Draft,
  until: 'first operand' | 'all operands',
): string[] {
  const operands: string[] = [];
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? '';
    const over = until === 'first operand' && operands.length > 1;
    if (over || !isOption(word) || word === '--') {
      if (over || word !== '--') operands.push(word);
      continue;
    }
    const { options: read, value } = readOptionWord(word, options);
    if (read.length === 0 || (value === 'none' && !isWhole(word, read.length)))
      draft.leaveOut(quoted(word), 'it is not known');
    for (const [position, option] of read.entries()) {
      const last = position === read.length - 1;
      const name = nameIn(word, option);
      if (!last || value === 'none') option.rule('', draft, name);
      else if (value === 'next') {
        index += 1;
        option.rule(words[index] ?? '', draft, name);
      } else option.rule(word.slice(value), draft, name);
    }
  }
  return operands;
}

/** Whether all letters of `-vNT`, or the whole of `--dns`, have been read. */
function isWhole(word: string, read: number): boolean {
  return word.startsWith('--') || word.length === read + 1;
}

function nameIn(word: string, { short, long }: OptionShape): string {
  return (word.startsWith('--') ? long : short) ?? word;
}

export function withUser(host: string, user: string | undefined): string {
  if (user === undefined || host.includes('@')) return host;
  const uri = /^ssh:\/\//i.exec(host)?.[0];
  return uri === undefined
    ? `${user}@${host}`
    : `${uri}${encodeURIComponent(user)}@${host.slice(uri.length)}`;
}
