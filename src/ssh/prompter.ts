/**
 * Asks the person who runs the program. The command line implements it; the transports know only
 * this interface.
 *
 * Every question rejects with TunnelError `no-terminal` if nobody can be asked, with
 * `auth-cancelled` if the person declines to answer, and with the signal's reason if it is aborted.
 * Answers are never logged.
 */
import { TunnelError } from '../errors/errors.ts';

export interface QuestionOptions {
  readonly signal?: AbortSignal;
  /** Lines that are shown above the question. */
  readonly preamble?: readonly string[];
}

export interface ConfirmOptions extends QuestionOptions {
  /** An answer that also means yes, and its name in the question ("the fingerprint"). */
  readonly alternative?: { readonly text: string; readonly name: string };
}

export interface Prompter {
  /** Whether anybody can be asked now. */
  canAsk(): boolean;
  /**
   * Whether questions go to the caller of another command, whom a program that this one starts
   * could not ask by itself.
   */
  asksElsewhere?(): boolean;
  /** Shows lines that want no answer, where questions go to the caller of another command. */
  show?(lines: readonly string[]): Promise<void>;
  /** Reads one line without echo. */
  secret(question: string, options?: QuestionOptions): Promise<string>;
  /** Reads one line that is shown while it is typed. */
  line(question: string, options?: QuestionOptions): Promise<string>;
  /** Asks until the answer is "yes" (or the alternative), "no", or empty, which means no. */
  confirm(question: string, options?: ConfirmOptions): Promise<boolean>;
}

/** For runs in which nobody may be asked, such as with BatchMode. */
export function nobody(why: string): Prompter {
  const refuse = (): Promise<never> => Promise.reject(new TunnelError('no-terminal', why));
  return { canAsk: () => false, secret: refuse, line: refuse, confirm: refuse };
}
