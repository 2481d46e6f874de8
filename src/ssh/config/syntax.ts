/**
 * How ssh_config(5) is written: lines, quotes, patterns. As OpenSSH's readconf.c, misc.c
 * (argv_split) and match.c read it.
 */
import { UsageError } from '../../errors/errors.ts';

/**
 * What a configuration comes to for one host: keywords in lower case, values as `ssh -G` prints
 * them, each file by itself.
 */
export type KeywordValues = ReadonlyMap<string, readonly string[]>;

export interface Directive {
  /** In lower case. */
  readonly keyword: string;
  /** Without quotes and comment. */
  readonly args: readonly string[];
  /** All behind the keyword as it is written: what commands are made of. */
  readonly rest: string;
}

/** One line; undefined: a comment, or blank. `place` is for messages. Throws UsageError. */
export function parseDirective(line: string, place: string): Directive | undefined {
  const text = line.trim();
  if (text === '' || text.startsWith('#')) return undefined;
  const [, quotedKeyword, plainKeyword = '', rest = ''] =
    /^(?:"([^"]*)"|([^\s="]+))[ \t]*=?[ \t]*(.*)$/s.exec(text) ?? [];
  const keyword = (quotedKeyword ?? plainKeyword).toLowerCase();
  if (keyword === '' || rest === '') {
    throw new UsageError(`${place}: the keyword has no value`, {
      hint: 'a line is "Keyword value"',
    });
  }
  return { keyword, args: splitArguments(rest, place), rest };
}

/**
 * Quotes of both kinds; a backslash takes a quote, a backslash or a space its meaning; `#` at a
 * word's start is a comment.
 */
function splitArguments(text: string, place: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let index = 0; index < text.length; index += 1) {
    const character = text.charAt(index);
    const next = text.charAt(index + 1);
    if (character === '\\' && (/^["'\\]$/.test(next) || (quote === '' && next === ' '))) {
      word = (word ?? '') + next;
      index += 1;
    } else if (quote !== '' && character !== quote) {
      word = (word ?? '') + character;
    } else if (character === '"' || character === "'") {
      quote = quote === '' ? character : '';
      word ??= '';
    } else if (character === ' ' || character === '\t') {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (character === '#' && word === undefined) {
      return words;
    } else {
      word = (word ?? '') + character;
    }
  }
  if (quote !== '')
    throw new UsageError(`${place}: a quoted text isn't closed (${quote})`, {
      hint: 'write quotes in pairs',
    });
  if (word !== undefined) words.push(word);
  return words;
}

/** So that splitArguments gives it back whole. */
export function quoteArgument(text: string): string {
  return /^[\w./:@%+,-]+$/.test(text) ? text : `"${text.replace(/[\\"]/g, '\\$&')}"`;
}
