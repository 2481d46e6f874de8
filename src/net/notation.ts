/**
 * Text that isn't a valid address, name, prefix or port. The message says what is wrong with it,
 * the hint how to write it.
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

/** Characters that have no special meaning in any shell. */
const PLAIN_WORD = /^[\w@%+:,./-]+$/;
/** Characters that are invisible or look like others: controls, formats, unusual spaces. */
const UNSEEN = /\p{C}|(?! )\p{Z}/u;

/**
 * Quotes one word of a command for the user to run, so that the shell takes it literally (sh(1),
 * "Single Quotes"). Characters that a terminal would not show as they are become octal escapes in
 * $'...', which bash, zsh, ksh and POSIX (2024) read.
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

/** Quotes a path, so that it isn't taken for an option either. */
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
