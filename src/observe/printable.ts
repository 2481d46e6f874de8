/** Makes text from outside (the server, a file, the command line) safe to show on a terminal. */
import { stripVTControlCharacters } from 'node:util';

/**
 * Longer text is cut: no message of the program needs more. The longest are lines that a server
 * says to a person (MAX_SERVER_TEXT of ssh/servertext.ts), with the host's name before them.
 */
export const MAX_PRINTABLE_LENGTH = 80 * 1024;

/**
 * C0 and C1 controls, characters that reorder or hide text (bidirectional controls, zero-width
 * characters, line separators, tags), and lone surrogates.
 */
const UNPRINTABLE =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}\p{Surrogate}]+/gu;

/** One line without such characters; each run of them becomes one space. */
export function printable(text: string): string {
  const cut =
    text.length > MAX_PRINTABLE_LENGTH ? `${text.slice(0, MAX_PRINTABLE_LENGTH)}...` : text;
  return stripVTControlCharacters(cut).replace(UNPRINTABLE, ' ').trim();
}
