/**
 * Asks the person who runs the program. Implemented by the command line; the transports only know
 * this.
 *
 * Every question rejects with a TunnelError of code `no-terminal` when nobody can be asked,
 * `auth-cancelled` when the person declines to answer, and with the signal's reason when it is
 * aborted. Answers are never logged.
 */
import { TunnelError } from '../errors/errors.ts';

export interface QuestionOptions {
  readonly signal?: AbortSignal;
  /** Shown above the question, a line each. */
  readonly preamble?: readonly string[];
}

export interface ConfirmOptions extends QuestionOptions {
  /** An answer that means yes as well, and how the person is told of it ("the fingerprint"). */
  readonly alternative?: { readonly text: string; readonly name: string };
}

export interface Prompter {
  /** Whether there is anybody who could be asked now. */
  canAsk(): boolean;
  /** Reads one line without echo. */
  secret(question: string, options?: QuestionOptions): Promise<string>;
  /** Reads one line that is shown while it is typed. */
  line(question: string, options?: QuestionOptions): Promise<string>;
  /** Asks until the answer is "yes" (or the alternative), "no" or nothing, which is no. */
  confirm(question: string, options?: ConfirmOptions): Promise<boolean>;
}

/** For runs in which nobody is to be asked, such as BatchMode. */
export function nobody(why: string): Prompter {
  const refuse = (): Promise<never> => Promise.reject(new TunnelError('no-terminal', why));
  return { canAsk: () => false, secret: refuse, line: refuse, confirm: refuse };
}
