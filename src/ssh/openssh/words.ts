/** Words that ssh and the shells that it starts read as they are meant. */
import { UsageError } from '../../errors/errors.ts';
import { printable } from '../../observe/printable.ts';

/**
 * Quotes a path as one word for any shell. csh and fish have their own rules for a backslash or "!"
 * in quotes, so these are refused. Throws UsageError.
 */
export function shellWord(path: string): string {
  if (/['\\!\p{Cc}]/u.test(path)) throw unfit('file', path);
  return `'${path}'`;
}

/** For a value in which ssh expands %-tokens. */
export function escapeTokens(path: string): string {
  return path.replaceAll('%', '%%');
}

export function unfit(what: string, text: string): UsageError {
  return new UsageError(`the ${what} "${printable(text)}" can't be passed to ssh`, {
    hint: `give a ${what} without quotes, spaces and the shell's special characters, and without "-" at its beginning`,
  });
}
