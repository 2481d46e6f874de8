/**
 * A password or token: text that shows itself only when it is asked for by `reveal`. In a log line,
 * a stack's inspection or a JSON file it is `(secret)`.
 */
import { inspect } from 'node:util';

const SHOWN = '(secret)';

export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The text itself. Only for the body of a request that goes to the cloud. */
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
