/**
 * A password or token. Only `reveal` shows its text. In a log line, an inspected object or a JSON
 * file it is `(secret)`.
 */
import { inspect } from 'node:util';

const SHOWN = '(secret)';

export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The text itself. Only for the body of a request to the cloud. */
  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return SHOWN;
  }

  toJSON(): string {
    return SHOWN;
  }

  [inspect.custom](): string {
    return SHOWN;
  }
}
