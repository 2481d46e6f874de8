/** -D and `tunnel up`: this process starts the program again, and ends when that is ready. */
import { UsageError } from '../errors/errors.ts';
import { startDaemon } from '../system/service/daemon.ts';
import { Notifier } from '../system/service/notify.ts';
import type { Self } from './self.ts';

/** Ends this process, with the status of the other one if that doesn't become ready. */
export async function runAsDaemon(self: Self): Promise<never> {
  const [, script = ''] = process.argv;
  // A unit of Type=notify hears of the other process from this one, which it knows.
  const notifier = Notifier.take({ ...process.env });
  const outcome = await startDaemon({
    program: [process.execPath, ...process.execArgv, script],
    args: self.args,
    env: process.env,
  });
  if ('status' in outcome) return self.leave(outcome.status);
  notifier.send(`MAINPID=${outcome.pid}`);
  notifier.close();
  return self.leave(0);
}

/**
 * The same for a line that says so only in a file. Throws UsageError under sudo and doas, where
 * root doesn't read the caller's files.
 */
export function runAsDaemonAfterAll(self: Self): Promise<never> {
  if (self.privileged === undefined) return runAsDaemon(self);
  throw new UsageError('under sudo and doas, -D must be on the command line itself', {
    hint: 'write: sudo tunnel -D ..., with the @FILE or the --profile after it',
  });
}
