/** Usage errors that say where the wrong text stands. */
import { UsageError } from '../errors.ts';
import { NotationError, quoted } from '../net/notation.ts';

/** Where a text came from, for messages: `target`, `-x`, `nets.txt:3`. */
export type Place = string;

/** Runs a parser on `text`; its NotationError becomes a UsageError that names the place and, if it doesn't yet, the text. */
export function readAt<T>(place: Place, text: string, parse: (text: string) => T): T {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof NotationError)) throw error;
    const where = error.message.includes(quoted(text)) ? place : `${place} ${quoted(text)}`;
    const message = `${where}: ${error.message}`;
    throw new UsageError(message, error.hint === undefined ? {} : { hint: error.hint });
  }
}
