/**
 * What the authentication methods share: their interface, which authenticator.ts calls, and what
 * they are given.
 */
import type { Observer } from '../../../observe/observer.ts';
import { readSecret } from '../../credentials.ts';
import type { Prompter, QuestionOptions } from '../../prompter.ts';
import type { ServerWords } from '../../servertext.ts';
import type { AuthReport } from './report.ts';
import type { UserauthAnswer, UserauthExchange } from './userauth.ts';

export interface AuthMethod {
  /**
   * Tries once. undefined: there is nothing left to try. A rejection with a TunnelError ends
   * authentication.
   */
  attempt(): Promise<UserauthAnswer | undefined>;
  /** The server has accepted something and wants more: tries are counted from zero again. */
  nextStage(): void;
}

export interface MethodContext {
  readonly user: string;
  /** The user's own name for the jump host; it is shown in questions. */
  readonly host: string;
  readonly exchange: UserauthExchange;
  readonly questions: Questions;
  readonly password: StoredPassword;
  readonly words: ServerWords;
  readonly report: AuthReport;
  readonly observer: Observer;
}

/** A credential (ssh/credentials.ts). One that was refused isn't sent again in the same login. */
export class StoredPassword {
  #path: string | undefined;

  constructor(path: string | undefined) {
    this.#path = path;
  }

  /** undefined: there is none, or it has been given. Rejects as readSecret does. */
  async take(): Promise<string | undefined> {
    const path = this.#path;
    this.#path = undefined;
    return path === undefined ? undefined : readSecret(path);
  }
}

/**
 * The prompter for one attempt: its questions end with the attempt, and their time doesn't count.
 */
export class Questions {
  readonly #prompter: Prompter;
  readonly #signal: AbortSignal;
  readonly #onPrompt: (waiting: boolean) => void;

  constructor(prompter: Prompter, signal: AbortSignal, onPrompt: (waiting: boolean) => void) {
    this.#prompter = prompter;
    this.#signal = signal;
    this.#onPrompt = onPrompt;
  }

  get aborted(): boolean {
    return this.#signal.aborted;
  }

  secret(question: string, preamble: readonly string[] = []): Promise<string> {
    return this.#ask((options) => this.#prompter.secret(question, options), preamble);
  }

  line(question: string, preamble: readonly string[] = []): Promise<string> {
    return this.#ask((options) => this.#prompter.line(question, options), preamble);
  }

  async #ask(
    ask: (options: QuestionOptions) => Promise<string>,
    preamble: readonly string[],
  ): Promise<string> {
    this.#onPrompt(true);
    try {
      return await ask({ signal: this.#signal, preamble });
    } finally {
      this.#onPrompt(false);
    }
  }
}
