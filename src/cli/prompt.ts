/**
 * Asks for passphrases, passwords and decisions: at the terminal, or with the program that
 * SSH_ASKPASS names, as ssh does.
 *
 * | SSH_ASKPASS_REQUIRE | who asks                                                                |
 * |---------------------|-------------------------------------------------------------------------|
 * | unset               | the terminal; the askpass program where there is none, if DISPLAY or    |
 * |                     | WAYLAND_DISPLAY is set                                                  |
 * | prefer              | the askpass program if DISPLAY or WAYLAND_DISPLAY is set, else the      |
 * |                     | terminal                                                                |
 * | force               | the askpass program                                                     |
 * | never               | the terminal                                                            |
 *
 * Questions are asked one after the other. A decision needs a written "yes", also from an askpass
 * program (with SSH_ASKPASS_PROMPT=confirm its exit status would be enough). So an askpass program
 * that always prints a password agrees to nothing.
 */
import { TunnelError } from '../errors/errors.ts';
import { harmless, printable } from '../observe/printable.ts';
import type { ConfirmOptions, Prompter, QuestionOptions } from '../ssh/prompter.ts';
import { findProgram } from '../system/path.ts';
import { runAskpass } from '../system/programs/askpass.ts';
import { ownsTerminal } from '../system/terminal.ts';
import { askAtTerminal, MAX_ANSWER_LENGTH } from './terminal.ts';

/** Where Debian's alternatives system installs it. */
const DEFAULT_ASKPASS = '/usr/bin/ssh-askpass';
/** After this many unclear answers the answer counts as no. */
const MAX_UNCLEAR_ANSWERS = 5;

type Environment = Readonly<Record<string, string | undefined>>;

export function createPrompter(environment: Environment = process.env): Prompter {
  return new UserPrompter(environment);
}

/** `program`: a path, or a name in PATH. */
function canRun(program: string): boolean {
  return findProgram(program, program.includes('/') ? [''] : undefined) !== undefined;
}

class UserPrompter implements Prompter {
  readonly #askpass: {
    readonly program: string;
    readonly allowed: boolean;
    readonly first: boolean;
  };
  #last: Promise<unknown> = Promise.resolve();

  constructor(environment: Environment) {
    const set = (name: string): boolean => (environment[name] ?? '') !== '';
    const display = set('DISPLAY') || set('WAYLAND_DISPLAY');
    const require = environment['SSH_ASKPASS_REQUIRE']?.toLowerCase();
    this.#askpass = {
      program: environment['SSH_ASKPASS'] ?? DEFAULT_ASKPASS,
      allowed: require === 'force' || (display && require !== 'never'),
      first: require === 'force' || (display && require === 'prefer'),
    };
  }

  canAsk(): boolean {
    const { program, allowed, first } = this.#askpass;
    // Without it, ssh would send an empty answer.
    return (allowed && canRun(program)) || (!first && ownsTerminal());
  }

  secret(question: string, options: QuestionOptions = {}): Promise<string> {
    return this.#inTurn(() => this.#ask(question, options, false));
  }

  line(question: string, options: QuestionOptions = {}): Promise<string> {
    return this.#inTurn(() => this.#ask(question, options, true));
  }

  confirm(question: string, options: ConfirmOptions = {}): Promise<boolean> {
    return this.#inTurn(() => this.#decide(question, options));
  }

  #inTurn<T>(ask: () => Promise<T>): Promise<T> {
    const answer = this.#last.then(ask);
    // The next question only waits for its turn; this one's failure goes to its own caller.
    this.#last = answer.catch(() => undefined);
    return answer;
  }

  async #decide(question: string, options: ConfirmOptions): Promise<boolean> {
    const { alternative, preamble, ...rest } = options;
    const choices = alternative === undefined ? 'yes or no' : `yes, no or ${alternative.name}`;
    const again = { ...rest, preamble: [] };
    let given = await this.#ask(
      `${question} (${choices})`,
      { ...again, preamble: preamble ?? [] },
      true,
    );
    for (let unclear = 1; ; unclear++) {
      const answer = given.trim();
      if (/^yes$/i.test(answer) || (alternative !== undefined && answer === alternative.text))
        return true;
      if (/^(no)?$/i.test(answer) || unclear >= MAX_UNCLEAR_ANSWERS) return false;
      given = await this.#ask(`Please answer ${choices}:`, again, true);
    }
  }

  async #ask(text: string, options: QuestionOptions, echo: boolean): Promise<string> {
    const question = printable(text);
    const preamble = (options.preamble ?? []).map((line) => line.replace(/\S.*/s, printable));
    const { signal } = options;
    const { program, allowed, first } = this.#askpass;
    const useAskpass = (): Promise<string> =>
      runAskpass({
        program,
        // Such programs may know questions by the blanks at their end.
        message: [...preamble, harmless(text)].join('\n'),
        limit: MAX_ANSWER_LENGTH,
        signal,
      });
    if (first) return useAskpass();
    try {
      return await askAtTerminal({ question, preamble, echo, signal });
    } catch (error) {
      if (!allowed || !(error instanceof TunnelError) || error.code !== 'no-terminal') throw error;
      return useAskpass();
    }
  }
}
