/** Makes text from outside (the server, a file, the command line) safe to show on a terminal. */
import { stripVTControlCharacters } from 'node:util';

/**
 * Longer text is cut: no message of the program needs more. The longest are lines that a server
 * says to a person (MAX_SERVER_TEXT of ssh/servertext.ts), with the host's name before them.
 */
export const MAX_PRINTABLE_LENGTH = 80 * 1024;

/**
 * C0 and C1 controls; characters that reorder, hide or join text, or show nothing (bidirectional
 * controls, format characters, variation selectors, fillers, tags, line separators); and lone
 * surrogates. Also the blank of Braille, which no property has.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}\u2800]+/gu;

/** One line without such characters; each run of them becomes one space. */
export function printable(text: string): string {
  const cut =
    text.length > MAX_PRINTABLE_LENGTH ? `${text.slice(0, MAX_PRINTABLE_LENGTH)}...` : text;
  return stripVTControlCharacters(cut).replace(UNPRINTABLE, ' ').trim();
}

/** What JSON.stringify() leaves as it is although a terminal acts on it: DEL and C1 controls. */
const UNESCAPED = /[\u007f-\u009f]/g;

/** JSON (RFC 8259) without any control characters, except newlines where it is indented. */
export function printableJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(
    UNESCAPED,
    (character) => `\\u00${character.charCodeAt(0).toString(16)}`,
  );
}
