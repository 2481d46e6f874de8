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
