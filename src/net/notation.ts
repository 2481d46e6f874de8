/**
 * Text that is no valid address, prefix or port. Says what is wrong with it, and how it is written
 * properly.
 */
export class NotationError extends Error {
  readonly hint: string | undefined;

  constructor(message: string, hint?: string) {
    super(message);
    this.name = 'NotationError';
    this.hint = hint;
  }
}

/** Quotes what the user wrote, with everything visible, for use in a message. */
export function quoted(text: string): string {
  return JSON.stringify(text);
}

/** What no shell gives a meaning. */
const PLAIN_WORD = /^[\w@%+:,./-]+$/;
/** All that isn't visible, or isn't what it looks like: controls, formats, odd spaces. */
const UNSEEN = /\p{C}|(?! )\p{Z}/u;

/**
 * One word of a command that a message shows to be run: whatever is in it, the shell takes it as
 * it is (sh(1), "Single Quotes"). What a terminal would not show as it is comes as octal escapes
 * in $'...', which bash, zsh, ksh and POSIX (2024) read.
 */
export function shellWord(text: string): string {
  if (PLAIN_WORD.test(text)) return text;
  if (!UNSEEN.test(text)) return `'${text.replaceAll("'", "'\\''")}'`;
  const escaped = Array.from(text, (character) => {
    if (UNSEEN.test(character)) return octets(character);
    return character === "'" || character === '\\' ? `\\${character}` : character;
  });
  return `$'${escaped.join('')}'`;
}

/** A path as a word that is no option either. */
export function shellPath(path: string): string {
  return shellWord(path.startsWith('-') ? `./${path}` : path);
}

function octets(character: string): string {
  const escapes = Array.from(
    Buffer.from(character),
    (octet) => `\\${octet.toString(8).padStart(3, '0')}`,
  );
  return escapes.join('');
}
