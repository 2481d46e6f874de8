/**
 * Asks at the terminal of whoever has called `tunnel reconnect`, for a tunnel that has none. One
 * question at a time; all are declined when the caller leaves.
 *
 * Limit: MAX_NOTICES that want no answer; what comes after them is counted and not shown.
 */
import { TunnelError } from '../errors/errors.ts';
import type { Observer } from '../observe/observer.ts';
import type { ConfirmOptions, Prompter, QuestionOptions } from '../ssh/prompter.ts';
import { fieldOf, MAX_NOTICES, textOf, type WireQuestion } from './wire.ts';

interface Asked {
  answer(value: string): void;
  fail(error: unknown): void;
}

export class RemotePrompter implements Prompter {
  readonly #send: (question: WireQuestion) => void;
  readonly #observer: Observer;
  #notices = 0;
  #last: Promise<unknown> = Promise.resolve();
  #asked: Asked | undefined;
  #closed = false;

  constructor(send: (question: WireQuestion) => void, observer: Observer) {
    this.#send = send;
    this.#observer = observer;
  }

  canAsk(): boolean {
    return !this.#closed;
  }

  asksElsewhere(): boolean {
    return true;
  }

  /** Resolves when the caller has them. Rejects if there are more than MAX_NOTICES. */
  async show(lines: readonly string[]): Promise<void> {
    if (this.#notices === MAX_NOTICES) {
      this.#observer.count('tunnel_control_notices_over_limit_total');
      throw tooManyNotices();
    }
    this.#notices++;
    await this.#inTurn('notice', lines.at(-1) ?? '', { preamble: lines.slice(0, -1) });
  }

  secret(question: string, options: QuestionOptions = {}): Promise<string> {
    return this.#inTurn('secret', question, options);
  }

  line(question: string, options: QuestionOptions = {}): Promise<string> {
    return this.#inTurn('line', question, options);
  }

  async confirm(question: string, options: ConfirmOptions = {}): Promise<boolean> {
    return (await this.#inTurn('confirm', question, options)) === 'yes';
  }

  /** What the caller has said. Anything else than an answer to the question is ignored. */
  answered(value: unknown): void {
    const asked = this.#asked;
    if (asked === undefined) return;
    const answer = textOf(value, 'answer');
    if (answer !== undefined) asked.answer(answer);
    else if (fieldOf(value, 'declined') === true)
      asked.fail(
        new TunnelError(
          textOf(value, 'code') === 'no-terminal' ? 'no-terminal' : 'auth-cancelled',
          textOf(value, 'why') ?? 'no answer was given',
        ),
      );
  }

  /** The caller has gone. */
  close(): void {
    this.#closed = true;
    this.#asked?.fail(gone());
  }

  #inTurn(
    kind: WireQuestion['kind'],
    question: string,
    { signal, preamble = [], alternative }: ConfirmOptions,
  ): Promise<string> {
    const answer = this.#last.then(() =>
      this.#ask({ kind, question, preamble, alternative }, signal),
    );
    // The next question only waits for its turn; this one's failure goes to its own caller.
    this.#last = answer.catch(() => undefined);
    return answer;
  }

  #ask(question: WireQuestion, signal: AbortSignal | undefined): Promise<string> {
    if (this.#closed) return Promise.reject(gone());
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const over = (): void => {
        this.#asked = undefined;
        signal?.removeEventListener('abort', abort);
      };
      const abort = (): void => this.#asked?.fail(signal?.reason);
      this.#asked = {
        answer(value) {
          over();
          resolve(value);
        },
        fail(error) {
          over();
          reject(error);
        },
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#send(question);
    });
  }
}

function gone(): TunnelError {
  return new TunnelError('auth-cancelled', 'whoever was asked has left');
}

/** Of a tunnel that keeps to the limit, or of one that doesn't. */
export function tooManyNotices(): TunnelError {
  return new TunnelError('control-failed', `there are more than ${MAX_NOTICES} notices`, {
    hint: 'the log of the tunnel has them all; look there, or at the jump host, for what goes on',
  });
}
