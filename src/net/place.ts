/** Where a piece of text was read, and usage errors that say so. */
import { UsageError } from '../errors/errors.ts';
import { NotationError, quoted } from './notation.ts';

/**
 * Where a value comes from. Only `formatPlace` must know all kinds: a new source of values adds a
 * kind here and a line there.
 */
export type Place =
  /** A word of the command line that belongs to no option. `name`: its role, such as `target`. */
  | { readonly kind: 'argument'; readonly name: string }
  /** The value of an option of the command line, or the option itself. `name`: `-p`, `--dns`. */
  | { readonly kind: 'option'; readonly name: string }
  /**
   * A line of a file; the path `-` is standard input. `option`: the option whose value is on it.
   */
  | {
      readonly kind: 'file';
      readonly path: string;
      /** The first is 1. */
      readonly line: number;
      readonly option?: string;
    }
  /** A keyword of ssh_config. */
  | { readonly kind: 'ssh-config'; readonly keyword: string };

/** For the beginning of a message: `target`, `-p`, `nets.txt:3`, `args.txt:2: -p`, `ProxyJump`. */
export function formatPlace(place: Place): string {
  switch (place.kind) {
    case 'argument':
    case 'option':
      return place.name;
    case 'file': {
      const where = `${fileName(place.path)}:${place.line}`;
      return place.option === undefined ? where : `${where}: ${place.option}`;
    }
    case 'ssh-config':
      return place.keyword;
  }
}

/** For messages that already name the option: `args.txt:2: `, or nothing. */
export function filePrefix(place: Place): string {
  return place.kind === 'file' ? `${fileName(place.path)}:${place.line}: ` : '';
}

/** The name of a file in messages. */
export function fileName(path: string): string {
  return path === '-' ? 'standard input' : path;
}

/** Adds an option's name to the place of its text. A profile has named it already, by its key. */
export function placeOfOption(place: Place, name: string): Place {
  if (place.kind === 'file') return place.option === undefined ? { ...place, option: name } : place;
  return place.kind === 'argument' ? { kind: 'option', name } : place;
}

/** Throws UsageError with the names to choose from. */
export function oneOf<T extends string>(
  names: readonly T[],
  text: string,
  place: Place,
  hint: string,
): T {
  const found = names.find((name) => name === text);
  if (found !== undefined) return found;
  throw new UsageError(`${formatPlace(place)}: ${quoted(text)} is none of ${names.join(', ')}`, {
    hint,
  });
}

/**
 * Runs a parser on `text`; its NotationError becomes a UsageError that names the place, and the
 * text if the message doesn't have it. `form` says how such text is written; it is the hint if the
 * parser has none.
 */
export function readAt<T>(place: Place, text: string, form: string, parse: (text: string) => T): T {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof NotationError)) throw error;
    const at = formatPlace(place);
    const where = error.message.includes(quoted(text)) ? at : `${at} ${quoted(text)}`;
    throw new UsageError(`${where}: ${error.message}`, { hint: error.hint ?? form });
  }
}
