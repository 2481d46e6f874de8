/**
 * The syntax of ssh_config(5), lines and quotes, as OpenSSH's readconf.c and misc.c (argv_split)
 * read it.
 */
import { UsageError } from '../../errors/errors.ts';

/**
 * The configuration for one host: keywords in lower case, and values as `ssh -G` prints them. Lists
 * of files are split into one value per file.
 */
export type KeywordValues = ReadonlyMap<string, readonly string[]>;

export interface Directive {
  /** In lower case. */
  readonly keyword: string;
  /** The keyword is written in quotes. */
  readonly isQuoted: boolean;
  /** Without quotes and comment. */
  readonly args: readonly string[];
  /** Everything after the keyword, as written. Commands are read from this. */
  readonly rest: string;
}

/**
 * Without blanks at both ends. ssh reads a line up to a NUL, and takes a form feed at the end of a
 * line, not for a line.
 */
function trimmed(line: string): string {
  const nul = line.indexOf('\0');
  let end = nul === -1 ? line.length : nul;
  while (end > 1 && ' \t\r\n\f'.includes(line.charAt(end - 1))) end -= 1;
  return line.slice(0, end).replace(/^[ \t\r\n]+/, '');
}

/** One line. undefined: a comment, or blank. `place` is used in messages. Throws UsageError. */
export function parseDirective(line: string, place: string): Directive | undefined {
  const text = trimmed(line);
  if (text === '' || text.startsWith('#')) return undefined;
  const [, quotedKeyword, plainKeyword = '', rest = ''] =
    /^(?:"([^"]*)"|([^ \t\r\n="]+))[ \t]*=?[ \t]*(.*)$/s.exec(text) ?? [];
  const keyword = (quotedKeyword ?? plainKeyword).toLowerCase();
  if (keyword === '' || rest === '') {
    throw new UsageError(`${place}: the keyword has no value`, {
      hint: 'a line is "Keyword value"',
    });
  }
  const isQuoted = quotedKeyword !== undefined;
  return { keyword, isQuoted, args: splitArguments(rest, place), rest };
}

/**
 * Handles both kinds of quotes. A backslash makes a quote, a backslash or a space literal. `#` at
 * the start of a word begins a comment.
 */
function splitArguments(text: string, place: string, comments = true): string[] {
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
    } else if (comments && character === '#' && word === undefined) {
      return words;
    } else {
      word = (word ?? '') + character;
    }
  }
  if (quote !== '')
    throw new UsageError(`${place}: a quote isn't closed (${quote})`, {
      hint: 'write quotes in pairs',
    });
  if (word !== undefined) words.push(word);
  return words;
}

/**
 * The words of a Match line, which ssh splits in another way (strdelim): at spaces and at one `=`.
 * Double quotes may begin anywhere, and end the word. `place` as above. Throws UsageError.
 */
export function delimitedWords(text: string, place: string): string[] {
  const words: string[] = [];
  let rest = text;
  while (rest !== '') {
    const [, plain = '', mark = '', after = ''] =
      /^([^ \t\r\n"=]*)([ \t\r\n"=]?)(.*)$/s.exec(rest) ?? [];
    if (mark !== '"') {
      words.push(plain);
      const spaces = after.replace(/^[ \t\r\n]+/, '');
      const skipsEquals = mark !== '=' && spaces.startsWith('=');
      rest = skipsEquals ? spaces.slice(1).replace(/^[ \t\r\n]+/, '') : spaces;
      continue;
    }
    const close = after.indexOf('"');
    if (close === -1)
      throw new UsageError(`${place}: a quote isn't closed (")`, { hint: 'write quotes in pairs' });
    words.push(plain + after.slice(0, close));
    rest = after.slice(close + 1).replace(/^[ \t\r\n]+/, '');
  }
  return words;
}

/** The words of a command that ssh runs without a shell. `place` as above. Throws UsageError. */
export function splitCommand(text: string, place: string): string[] {
  return splitArguments(text, place, false);
}

/** Quotes a text, so that splitArguments returns it unchanged. */
export function quoteArgument(text: string): string {
  return /^[\w./:@%+,-]+$/.test(text) ? text : `"${text.replace(/[\\"]/g, '\\$&')}"`;
}
