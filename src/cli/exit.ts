/** Exit statuses of the program and of `tunnel exec`; errors/codes.ts has one for each code. */
import { EXEC_EXIT, EXIT, type ExitStatus, exitStatusOf } from '../errors/codes.ts';
import { TunnelError } from '../errors/errors.ts';

/** For a program that a signal ended, shells report this plus the signal's number. */
export const EXIT_SIGNAL_BASE = 128;

export function exitCodeOf(error: unknown): ExitStatus {
  return error instanceof TunnelError ? exitStatusOf(error.code) : EXIT.unexpected;
}

/** The exit status of `tunnel exec` when the command was not run. */
export function execExitCodeOf(error: unknown): number {
  const status = exitCodeOf(error);
  const isOfCommand = status === EXEC_EXIT.notFound || status === EXEC_EXIT.cannotExecute;
  return isOfCommand ? status : EXEC_EXIT.failed;
}
