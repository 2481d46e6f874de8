/**
 * Makes text from a server fit for messages.
 *
 *   serverText     a phrase within a message of this program: one line, not longer than a message
 *   ServerWords    what a server says to the person who logs in (banners, questions and the text
 *                  above them): whole, since it may be an address to open or a code to compare
 *
 * All of it is printable. Only MAX_SERVER_TEXT bounds what is said in one login. No server that
 * speaks to people meets that; one that floods the terminal is cut off, told so, and counted.
 */
import type { Observer } from '../observe/observer.ts';
import { printable } from '../observe/printable.ts';

const MAX_CHARACTERS = 300;

/**
 * Characters that a server may say in one login. As much as OpenSSH's ssh takes of one banner;
 * printable() must not cut a line of this length.
 */
export const MAX_SERVER_TEXT = 64 * 1024;

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

/** What a server says in one login. */
export class ServerWords {
  readonly #observer: Observer;
  #left = MAX_SERVER_TEXT;
  #told = false;

  constructor(observer: Observer) {
    this.#observer = observer;
  }

  /**
   * The lines of a text, without empty ones at either end. When MAX_SERVER_TEXT has been said, the
   * last line says so, once.
   */
  lines(text: string): string[] {
    const { taken, cut } = this.#take(text);
    const lines = taken.split(/\r\n|\r|\n/).map((line) => printable(line));
    while (lines.at(-1) === '') lines.pop();
    while (lines[0] === '') lines.shift();
    if (cut && !this.#told) {
      this.#told = true;
      lines.push(`(the server has said more than ${MAX_SERVER_TEXT / 1024} KiB; the rest is cut)`);
    }
    return lines;
  }

  /** The same as one line; it ends in an ellipsis if it is cut. */
  line(text: string): string {
    const { taken, cut } = this.#take(text);
    return cut ? `${printable(taken)}…` : printable(taken);
  }

  #take(text: string): { readonly taken: string; readonly cut: boolean } {
    const cut = text.length > this.#left;
    const taken = text.slice(0, this.#left);
    this.#left -= taken.length;
    if (cut) this.#observer.count('tunnel_server_text_cut_total');
    return { taken, cut };
  }
}
