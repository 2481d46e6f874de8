/**
 * Who is asked: whoever sits at the run's own terminal, or whoever has asked for a new link or a
 * reload, at the terminal of that command and as long as it is there.
 *
 *   during(other, work)   other is asked until the work is done, or until it leaves
 *   question              what is being asked now, and where, for whoever shows the run
 */
import type { AskedStatus } from '../control/status.ts';
import { TunnelError } from '../errors/errors.ts';
import { Listeners } from '../link/linkstate.ts';
import { printable } from '../observe/printable.ts';
import type { ConfirmOptions, Prompter, QuestionOptions } from '../ssh/prompter.ts';

/** Characters of a question that are shown; it may have been made by the server. */
const MAX_SHOWN = 120;

export class PrompterInUse implements Prompter {
  readonly #own: Prompter;
  readonly #changes = new Listeners();
  /** In the order in which they were asked; prompters put one after the other. */
  readonly #questions = new Set<AskedStatus>();
  #other: Prompter | undefined;

  constructor(own: Prompter) {
    this.#own = own;
  }

  /** The question that waits for its answer. */
  get question(): AskedStatus | undefined {
    const [first] = this.#questions;
    return first;
  }

  /** Calls `listener` after each change of `question`. Returns what ends that. */
  onChange(listener: () => void): () => void {
    return this.#changes.add(listener);
  }

  /** Throws TunnelError if somebody else is being asked already. */
  during<T>(other: Prompter, work: () => Promise<T>): Promise<T> {
    if (this.#isBusy) {
      const message = 'somebody else has asked for a new link, or a reload, already';
      const hint = 'wait until that is over; "tunnel status" shows what is being asked, and where';
      return Promise.reject(new TunnelError('control-busy', message, { hint }));
    }
    return this.#asking(other, work);
  }

  /** As `during`; if somebody else is being asked already, that one gets the questions. */
  unlessBusy<T>(other: Prompter, work: () => Promise<T>): Promise<T> {
    return this.#isBusy ? work() : this.#asking(other, work);
  }

  async #asking<T>(other: Prompter, work: () => Promise<T>): Promise<T> {
    this.#other = other;
    try {
      return await work();
    } finally {
      // Another one takes its place when this one has left before its work was done.
      if (this.#other === other) this.#other = undefined;
    }
  }

  /** Whoever has left is not asked any more, whatever becomes of what they wanted. */
  get #isBusy(): boolean {
    return this.#other?.canAsk() ?? false;
  }

  get #asks(): Prompter {
    return this.#isBusy && this.#other !== undefined ? this.#other : this.#own;
  }

  canAsk(): boolean {
    return this.#asks.canAsk();
  }

  asksElsewhere(): boolean {
    return this.#asks.asksElsewhere?.() ?? false;
  }

  async show(lines: readonly string[]): Promise<void> {
    await this.#asks.show?.(lines);
  }

  secret(question: string, options?: QuestionOptions): Promise<string> {
    return this.#ask(question, (prompter) => prompter.secret(question, options));
  }

  line(question: string, options?: QuestionOptions): Promise<string> {
    return this.#ask(question, (prompter) => prompter.line(question, options));
  }

  confirm(question: string, options?: ConfirmOptions): Promise<boolean> {
    return this.#ask(question, (prompter) => prompter.confirm(question, options));
  }

  async #ask<T>(question: string, put: (prompter: Prompter) => Promise<T>): Promise<T> {
    const prompter = this.#asks;
    // Where nobody can be asked there is nothing to answer.
    if (!prompter.canAsk()) return put(prompter);
    const asked: AskedStatus = {
      text: printable(question.slice(0, MAX_SHOWN)),
      at: prompter === this.#own ? 'tunnel' : 'caller',
      since: Date.now(),
    };
    this.#questions.add(asked);
    this.#changes.call();
    try {
      return await put(prompter);
    } finally {
      this.#questions.delete(asked);
      this.#changes.call();
    }
  }
}
