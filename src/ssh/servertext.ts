/**
 * Makes text from a server fit for a message: printable, and no longer than a message should be.
 */
import { printable } from '../observe/printable.ts';

const MAX_CHARACTERS = 300;
const MAX_LINES = 40;

/** One line. */
export function serverText(text: string, limit: number = MAX_CHARACTERS): string {
  const characters = [...printable(text)];
  return characters.length > limit
    ? `${characters.slice(0, limit).join('')}…`
    : characters.join('');
}

/**
 * A list of RFC 4253 §7.1, without the names in it that are not algorithms (RFC 8308, PROTOCOL of
 * OpenSSH).
 */
export function algorithmNames(list: string): string {
  const names = list.split(',').filter((name) => !/^(ext-info-|kex-strict-)/.test(name));
  return serverText(names.join(', '));
}

/** For banners: the lines, without empty ones at either end. */
export function serverLines(text: string): string[] {
  const lines = text.split(/\r?\n/, MAX_LINES).map((line) => serverText(line));
  while (lines.at(-1) === '') lines.pop();
  while (lines[0] === '') lines.shift();
  return lines;
}
