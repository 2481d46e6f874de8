/** A callback of the program that uses the library, as what the SSH clients ask. */
import { TunnelError } from '../errors/errors.ts';
import { printable } from '../observe/printable.ts';
import {
  type ConfirmOptions,
  nobody,
  type Prompter,
  type QuestionOptions,
} from '../ssh/prompter.ts';

export interface Question {
  /** `secret`: don't show the answer. `confirm`: true or `yes` agrees, anything else doesn't. */
  readonly kind: 'secret' | 'text' | 'confirm';
  /** Without control characters, whoever has written it. */
  readonly text: string;
  /** Lines that belong above it. */
  readonly details: readonly string[];
  /** Aborted when the answer is no longer wanted. */
  readonly signal: AbortSignal | undefined;
}

/** Answers a question. Undefined: there is no answer, and the login fails (`auth-cancelled`). */
export type Prompt = (
  question: Question,
) => string | boolean | undefined | Promise<string | boolean | undefined>;

/** A prompter that asks `prompt`, one question after the other. */
export function prompterFor(prompt: Prompt | undefined): Prompter {
  return prompt === undefined
    ? nobody('nobody can be asked: openTunnel() was given no prompt')
    : new CallbackPrompter(prompt);
}

class CallbackPrompter implements Prompter {
  readonly #prompt: Prompt;
  #last: Promise<unknown> = Promise.resolve();

  constructor(prompt: Prompt) {
    this.#prompt = prompt;
  }

  canAsk(): boolean {
    return true;
  }

  secret(question: string, options: QuestionOptions = {}): Promise<string> {
    return this.#answer('secret', question, options);
  }

  line(question: string, options: QuestionOptions = {}): Promise<string> {
    return this.#answer('text', question, options);
  }

  async confirm(question: string, options: ConfirmOptions = {}): Promise<boolean> {
    const answer = await this.#ask('confirm', question, options);
    if (typeof answer !== 'string') return answer === true;
    const text = answer.trim();
    return /^yes$/i.test(text) || text === options.alternative?.text;
  }

  async #answer(kind: Question['kind'], question: string, options: QuestionOptions) {
    const answer = await this.#ask(kind, question, options);
    if (typeof answer === 'string') return answer;
    throw new TunnelError('auth-cancelled', `the prompt has no answer to "${printable(question)}"`);
  }

  #ask(kind: Question['kind'], text: string, { preamble = [], signal }: QuestionOptions) {
    const details = preamble.map((line) => printable(line));
    const answer = this.#last.then(() => {
      signal?.throwIfAborted();
      return unlessAborted(
        Promise.resolve(this.#prompt({ kind, text: printable(text), details, signal })),
        signal,
      );
    });
    // The next question only waits for its turn; this one's failure goes to its own caller.
    this.#last = answer.catch(() => undefined);
    return answer;
  }
}

/** A callback may not look at the signal. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
