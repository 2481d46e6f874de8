/**
 * Tells options from other words, and from their values, for the code that must know this before
 * commander reads them (execoptions.ts, cli/marks.ts). The rules are those of commander and
 * getopt_long(3).
 */

/** How an option is written (`-r`, `--remote`), and whether it takes a value. */
export interface OptionShape {
  readonly short?: string | undefined;
  readonly long?: string | undefined;
  readonly takesValue: boolean;
}

export interface OptionWord<Shape extends OptionShape> {
  /** The options in the word, in order. Letters after an unknown one are unknown, too. */
  readonly options: readonly Shape[];
  /**
   * Where the value of the last option is: nowhere, in the next word, or in this word from that
   * character on.
   */
  readonly value: 'none' | 'next' | number;
}

/** Not called for `--`, which ends the options. */
export function isOption(word: string): boolean {
  return word.length > 1 && word.startsWith('-');
}

/** Commander's own options: help is every command's, the version only that of `connect`. */
const COMMON = ['-h', '--help', '-V', '--version'];

/**
 * Whether the word after an option that wants a value is its value. A known option isn't one, nor
 * is `--`: the value was forgotten, as for sshuttle. Such a value can be written as part of the
 * option's own word.
 */
export function isValue(word: string | undefined, shapes: readonly OptionShape[]): boolean {
  if (word === undefined || word === '--') return false;
  return !(
    isOption(word) &&
    (COMMON.includes(word) || readOptionWord(word, shapes).options.length > 0)
  );
}

/** Reads `-r`, `-rVALUE`, `-vr`, `--remote` and `--remote=VALUE`. */
export function readOptionWord<Shape extends OptionShape>(
  word: string,
  shapes: readonly Shape[],
): OptionWord<Shape> {
  return word.startsWith('--') ? readLong(word, shapes) : readShort(word, shapes);
}

function readLong<Shape extends OptionShape>(
  word: string,
  shapes: readonly Shape[],
): OptionWord<Shape> {
  const [name = ''] = word.split('=', 1);
  const shape = shapes.find(({ long }) => long === name);
  const attached = name !== word;
  // Commander doesn't accept a value for an option that takes none.
  if (shape === undefined || (attached && !shape.takesValue)) return { options: [], value: 'none' };
  const value = attached ? name.length + 1 : 'next';
  return { options: [shape], value: shape.takesValue ? value : 'none' };
}

/** Letters up to the first one that takes a value. The rest of the word is that value. */
function readShort<Shape extends OptionShape>(
  word: string,
  shapes: readonly Shape[],
): OptionWord<Shape> {
  const options: Shape[] = [];
  for (let at = 1; at < word.length; at += 1) {
    const shape = shapes.find(({ short }) => short === `-${word.charAt(at)}`);
    if (shape === undefined) break;
    options.push(shape);
    if (shape.takesValue) return { options, value: at === word.length - 1 ? 'next' : at + 1 };
  }
  return { options, value: 'none' };
}

/** A target only if a search list makes a full name of it (resolv.conf(5)). */
export const LIKE_A_COMMAND = /^[a-z_][\w+-]*$/i;
