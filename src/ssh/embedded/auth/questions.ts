/**
 * The methods that ask the user: keyboard-interactive (RFC 4256) and password (RFC 4252 §8). The
 * server chooses the text that is shown or asked. So the text is made printable, and
 * marked with user and host: it can't pass for a question of this program or of another server.
 * Answers are sent and forgotten.
 *
 * Each may be tried as often as NumberOfPasswordPrompts says. If nobody can be asked, the method is
 * skipped and others are tried. If a person declines to answer, authentication ends.
 */
import { TunnelError } from '../../../errors/errors.ts';
import { shellWord } from '../../../net/notation.ts';
import type { InteractivePrompt } from '../ssh2/internals.ts';
import type { AuthMethod, MethodContext } from './method.ts';
import type { MethodName, UserauthAnswer } from './userauth.ts';

/** Questions at a time; one-time-code modules ask one or two. With more, the method is skipped. */
export const MAX_PROMPTS = 16;
/** Rounds in one login, including those without a question. With more, the method is skipped. */
export const MAX_ROUNDS = 32;

type Questions = Extract<UserauthAnswer, { kind: 'questions' }>;

/** What both share: the number of tries, and what happens when nobody answers. */
abstract class QuestionMethod implements AuthMethod {
  protected readonly context: MethodContext;
  readonly #name: MethodName;
  readonly #limit: number;
  #tries = 0;
  #unusable = false;

  constructor(name: MethodName, context: MethodContext, limit: number) {
    this.#name = name;
    this.context = context;
    this.#limit = limit;
  }

  protected abstract try(): Promise<UserauthAnswer>;

  async attempt(): Promise<UserauthAnswer | undefined> {
    if (this.#unusable || this.#tries >= this.#limit) return undefined;
    this.#tries++;
    const { report, observer, host, user } = this.context;
    if (this.#tries > 1)
      observer.log('notice', `${host} does not accept that for "${user}"; try again`);
    // Before the answer: when that lets the user in, the report is read at once.
    report.tried(this.#name);
    try {
      return await this.try();
    } catch (error) {
      report.untried();
      if (!(error instanceof TunnelError)) throw error;
      if (error.code !== 'no-terminal' && error.code !== 'auth-skipped')
        throw error.code === 'auth-cancelled' ? this.#cancelled(error) : error;
      this.giveUp();
      report.leftOut(this.#name, error.code === 'no-terminal');
      observer.log('warning', `${this.#name} authentication is left out: ${error.message}`);
      return undefined;
    }
  }

  /** With the refusals before it: the server has counted them. */
  #cancelled(error: TunnelError): TunnelError {
    const { report } = this.context;
    if (!report.answerRefused) return error;
    const { message, hint } = error;
    return new TunnelError('auth-cancelled', message, {
      ...(hint === undefined ? {} : { hint }),
      cause: report.failure(),
    });
  }

  nextStage(): void {
    this.#tries = 0;
  }

  protected giveUp(): void {
    this.#unusable = true;
  }
}

export class KeyboardInteractiveMethod extends QuestionMethod {
  #rounds = 0;

  constructor(context: MethodContext, limit: number) {
    super('keyboard-interactive', context, limit);
  }

  protected override async try(): Promise<UserauthAnswer> {
    const { exchange } = this.context;
    let answer = await exchange.keyboardInteractive();
    let asked = false;
    while (answer.kind === 'questions') {
      if (++this.#rounds > MAX_ROUNDS)
        throw this.#tooMuch(`more than ${MAX_ROUNDS} rounds of questions`);
      asked ||= answer.prompts.length > 0;
      answer = await exchange.respond(await this.#answers(answer));
    }
    // A server that refuses without a question will do that again: another try would only count as
    // a failure.
    if (answer.kind === 'failure' && !answer.partial && !asked) this.giveUp();
    return answer;
  }

  async #answers({ name, instruction, prompts }: Questions): Promise<string[]> {
    if (prompts.length > MAX_PROMPTS) throw this.#tooMuch(`${prompts.length} questions at once`);
    const { words } = this.context;
    const shown = [...words.lines(name), ...words.lines(instruction)];
    if (prompts.length === 0) {
      for (const line of shown)
        this.context.observer.log('notice', `${this.context.host}: ${line}`);
      return [];
    }
    const [only] = prompts;
    if (only !== undefined && prompts.length === 1 && isForPassword(only)) {
      const password = await this.context.password.take();
      if (password !== undefined) return [password];
    }
    const answers: string[] = [];
    for (const [index, prompt] of prompts.entries())
      answers.push(await this.#ask(prompt, index === 0 ? shown : []));
    return answers;
  }

  #ask({ prompt, echo }: InteractivePrompt, shown: readonly string[]): Promise<string> {
    const { questions, user, host, words } = this.context;
    const mark = `(${user}@${host})`;
    const preamble = shown.map((line) => `${mark} ${line}`);
    const question = `${mark} ${words.line(prompt)}`;
    return echo === true
      ? questions.line(question, preamble)
      : questions.secret(question, preamble);
  }

  #tooMuch(what: string): TunnelError {
    this.context.observer.count('tunnel_auth_questions_limit_total');
    return new TunnelError('auth-skipped', `the jump host asks ${what}`);
  }
}

/** As PAM asks: `Password: `, `Passwort:`. A code is another question. */
function isForPassword({ prompt, echo }: InteractivePrompt): boolean {
  return echo !== true && /passw/i.test(prompt);
}

export class PasswordMethod extends QuestionMethod {
  constructor(context: MethodContext, limit: number) {
    super('password', context, limit);
  }

  /** Throws TunnelError `auth-password-expired`. */
  protected override async try(): Promise<UserauthAnswer> {
    const { exchange, questions, password, user, host } = this.context;
    const stored = await password.take();
    const answer = await exchange.password(
      stored ?? (await questions.secret(`Password of ${user}@${host}:`)),
    );
    if (answer.kind === 'password-expired') {
      const words = answer.text === '' ? '' : `: "${answer.text}"`;
      throw new TunnelError(
        'auth-password-expired',
        `the jump host accepts the password of "${user}" only for changing it${words}`,
        { hint: `change it first, with: ssh ${shellWord(`${user}@${host}`)}` },
      );
    }
    return answer;
  }
}
