/**
 * Secrets, and questions for those that the settings lack. Only `reveal` shows a secret's text. In
 * a log line, an inspected object or a JSON file it is `(secret)`.
 */
import { inspect } from 'node:util';
import type { TunnelError } from '../../errors/errors.ts';

const SHOWN = '(secret)';

/** A password or token. */
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

/** Asks the person who runs the program; the answer is not shown while it is typed. */
export type AskSecret = (question: string) => Promise<string>;

/** A secret that the settings don't have, and that a person may be asked for. */
export class Question {
  readonly #text: string;
  readonly #otherwise: TunnelError;

  constructor(text: string, otherwise: TunnelError) {
    this.#text = text;
    this.#otherwise = otherwise;
  }

  /** Rejects with what is missing if nobody can be asked, or with the error of `ask`. */
  async answer(ask: AskSecret | undefined): Promise<Secret> {
    const answer = await ask?.(this.#text);
    if (answer === undefined || answer === '') throw this.#otherwise;
    return new Secret(answer);
  }
}
