/** Usage errors that say where the wrong text stands. */
import { UsageError } from '../errors.ts';
import { NotationError, quoted } from '../net/notation.ts';

/** Where a text came from, for messages: `target`, `-x`, `nets.txt:3`. */
export type Place = string;

/**
 * Runs a parser on `text`; its NotationError becomes a UsageError that names the place and, if it doesn't yet, the text. `form`
 * says how such a text is written, for where the parser has nothing better to say.
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
