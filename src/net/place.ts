/** Usage errors that say where the wrong text stands. */
import { UsageError } from '../errors/errors.ts';
import { NotationError, quoted } from './notation.ts';

/** Where a text came from, for messages: `target`, `-x`, `nets.txt:3`. */
export type Place = string;

/** Throws UsageError with the names to choose from. */
export function oneOf<T extends string>(
  names: readonly T[],
  text: string,
  place: Place,
  hint?: string,
): T {
  const found = names.find((name) => name === text);
  if (found !== undefined) return found;
  throw new UsageError(`${place}: ${quoted(text)} is none of ${names.join(', ')}`, {
    hint: hint ?? `write one of them, as in: ${place} ${names[0]}`,
  });
}

/**
 * Runs a parser on `text`; its NotationError becomes a UsageError that names the place and, if it
 * doesn't yet, the text. `form` says how such a text is written, for where the parser has nothing
 * better to say.
 */
export function readAt<T>(place: Place, text: string, form: string, parse: (text: string) => T): T {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof NotationError)) throw error;
    const where = error.message.includes(quoted(text)) ? place : `${place} ${quoted(text)}`;
    throw new UsageError(`${where}: ${error.message}`, { hint: error.hint ?? form });
  }
}
