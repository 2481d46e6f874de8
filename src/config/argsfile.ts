/**
 * Files that stand in for the command line.
 *
 *   @FILE arguments, several to a line, quoted as in a shell; may name more @FILEs
 *   -s, -X FILE targets, one per line; `-` is standard input
 *
 * In both, `#` at the beginning of a word starts a comment. Errors name the file and the line. The
 * quoting is that of POSIX shells (XCU §2.2) without expansions: a backslash escapes any character
 * outside quotes, and `"` and `\` inside double quotes; single quotes are literal. A quoted text
 * ends on the line on which it begins. As with sshuttle and gcc, file names are relative to the
 * working directory, not to the file that contains them.
 */
import { closeSync, openSync } from 'node:fs';
import { readAtMost } from '../base/boundedread.ts';
import { UsageError } from '../errors/errors.ts';
import { fileHintOf, fileReasonOf } from '../errors/reason.ts';
import { NotationError, quoted } from '../net/notation.ts';
import { fileName, formatPlace, type Place, readAt } from '../net/place.ts';

/** The hint for readAt. */
const WORDS_FORM = 'write it as for a shell: quotes in pairs, a backslash only before a character';
/** Deeper nesting is treated as a file that names itself. */
export const MAX_ARGUMENTS_FILE_DEPTH = 8;
export const MAX_FILE_BYTES = 16 * 1024 * 1024;
/** For all @FILEs together: nested files multiply. */
export const MAX_ARGUMENTS = 100_000;

const STDIN_FD = 0;

/** An argument or a target, and the place where it was given. */
export interface Entry {
  readonly text: string;
  readonly place: Place;
}

/** The place of a command line word, before its meaning is known. */
const ARGUMENT: Place = { kind: 'argument', name: 'argument' };

/** Replaces each `@FILE` before a `--` by the arguments in it. Throws UsageError. */
export function expandArguments(args: readonly string[]): Entry[] {
  const result: Entry[] = [];
  expandInto(
    result,
    args.map((text) => ({ text, place: ARGUMENT })),
    0,
  );
  return result;
}

function expandInto(result: Entry[], entries: readonly Entry[], depth: number): void {
  let expanding = true;
  for (const entry of entries) {
    if (entry.text === '--') expanding = false;
    if (!expanding || !entry.text.startsWith('@')) {
      if (result.length >= MAX_ARGUMENTS) {
        throw new UsageError(`the argument files contain more than ${MAX_ARGUMENTS} arguments`, {
          hint: 'put targets into a separate file and name it with -s',
        });
      }
      result.push(entry);
      continue;
    }
    const file = entry.text.slice(1);
    const { place } = entry;
    if (file === '') {
      throw new UsageError(`${formatPlace(place)}: "@" is not followed by the name of a file`, {
        hint: 'write it as in: @tunnel.args',
      });
    }
    if (depth >= MAX_ARGUMENTS_FILE_DEPTH) {
      throw new UsageError(
        `${formatPlace(place)}: @${file} is nested more than ${MAX_ARGUMENTS_FILE_DEPTH} files deep`,
        {
          hint: 'check whether a file names itself',
        },
      );
    }
    expandInto(result, readArguments(file, place), depth + 1);
  }
}

function readArguments(file: string, place: Place): Entry[] {
  return readLines(file, place).flatMap(({ text, place: line }) =>
    readAt(line, text, WORDS_FORM, splitWords).map((word) => ({ text: word, place: line })),
  );
}

/**
 * Reads targets or exclusions, one per line. `option` is the option that named the file. Throws
 * UsageError.
 */
export function readTargetsFile(file: string, option: Place): Entry[] {
  const entries = [];
  for (const { text, place } of readLines(file, option)) {
    const words = text.replace(/(^|\s)#.*$/, '').trim();
    if (words === '') continue;
    if (/\s/.test(words)) {
      throw new UsageError(`${formatPlace(place)}: ${quoted(words)} is more than one target`, {
        hint: 'write one per line',
      });
    }
    entries.push({ text: words, place });
  }
  return entries;
}

/** Splits one line into words. Throws NotationError. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote: '"' | "'" | undefined;
  for (let index = 0; index < line.length; index += 1) {
    const character = line.charAt(index);
    const next = line.charAt(index + 1);
    if (quote !== undefined && character === quote) {
      quote = undefined;
    } else if (
      character === '\\' &&
      quote !== "'" &&
      (quote === undefined || next === '"' || next === '\\')
    ) {
      if (next === '') throw new NotationError('the line ends with a backslash');
      word = (word ?? '') + next;
      index += 1;
    } else if (quote !== undefined) {
      word = (word ?? '') + character;
    } else if (character === '"' || character === "'") {
      quote = character;
      word ??= '';
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (character === '#' && word === undefined) {
      return words;
    } else {
      word = (word ?? '') + character;
    }
  }
  if (quote !== undefined) throw new NotationError(`a quoted text isn't closed (${quote})`);
  if (word !== undefined) words.push(word);
  return words;
}

function readLines(file: string, place: Place): Entry[] {
  const name = fileName(file);
  return decode(readBytes(file, name, place), name, place)
    .split('\n')
    .map((line, index) => ({
      text: line.replace(/\r$/, ''),
      place: { kind: 'file', path: file, line: index + 1 },
    }));
}

function decode(bytes: Uint8Array, name: string, place: Place): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new UsageError(`${formatPlace(place)}: ${name} is not text in UTF-8`, {
      hint: 'check that it is the right file, or convert it with iconv(1)',
      cause,
    });
  }
}

/** Reads whole files, pipes and standard input, but no more than MAX_FILE_BYTES. */
function readBytes(file: string, name: string, place: Place): Uint8Array {
  let fd: number | undefined;
  try {
    fd = file === '-' ? STDIN_FD : openSync(file, 'r');
    const bytes = readAtMost(fd, MAX_FILE_BYTES);
    if (bytes !== undefined) return bytes;
    throw new UsageError(
      `${formatPlace(place)}: ${name} is larger than ${MAX_FILE_BYTES / 1024 / 1024} MiB`,
      {
        hint: 'check that it is the right file, or merge its targets into shorter prefixes',
      },
    );
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    throw new UsageError(`${formatPlace(place)}: ${name} can't be read: ${fileReasonOf(cause)}`, {
      hint: fileHintOf(file),
      cause,
    });
  } finally {
    if (fd !== undefined && fd !== STDIN_FD) closeSync(fd);
  }
}
