/** How ssh_config(5) is written: lines, quotes, patterns. As OpenSSH's readconf.c, misc.c (argv_split) and match.c read it. */
import { UsageError } from '../errors.ts';

/** What a configuration comes to for one host: keywords in lower case, values as `ssh -G` prints them, each file by itself. */
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
    throw new UsageError(`${place}: the keyword has no value`, { hint: 'a line is "Keyword value"' });
  }
  return { keyword, args: splitArguments(rest, place), rest };
}

/** Quotes of both kinds; a backslash takes a quote, a backslash or a space its meaning; `#` at a word's start is a comment. */
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

const NOTHING = /(?!)/;

/** For file names, as glob(7) has it within one directory: `*`, `?`, `[abc]` and `[!a-z]`; `[z-a]` matches nothing. */
export function globRegExp(pattern: string): RegExp {
  const source = pattern.replace(/\[!?\]?[^\]]*\]|[\s\S]/g, (part) => {
    if (part === '*') return '[\\s\\S]*';
    if (part === '?') return '[\\s\\S]';
    if (part.length === 1) return part.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&');
    const negated = part.startsWith('[!');
    return `[${negated ? '^' : ''}${part.slice(negated ? 2 : 1, -1).replace(/[\\\]^]/g, '\\$&')}]`;
  });
  try {
    return new RegExp(`^${source}$`);
  } catch {
    return NOTHING; // a range whose end comes before its beginning
  }
}

/** ssh_config(5), PATTERNS: `*` and `?`. Linear in the text for each `*`: no regular expression from a file. */
export function matchPattern(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let retry = 0;
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p++;
      retry = t;
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === text[t])) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++retry;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

/** Some pattern matches and no negated one (`!pattern`) does, wherever it stands. */
export function matchPatterns(patterns: readonly string[], text: string): boolean {
  let matched = false;
  for (const pattern of patterns) {
    const negated = pattern.startsWith('!');
    if (!matchPattern(negated ? pattern.slice(1) : pattern, text)) continue;
    if (negated) return false;
    matched = true;
  }
  return matched;
}
