/** `tunnel clean`: repairs what tunnels that were killed have left on this machine. */
import { TunnelError } from '../errors/errors.ts';
import type { RecoveryReport } from '../system/resolver/recover.ts';
import type { CommandDeclaration } from './command.ts';

export const CLEAN: CommandDeclaration = {
  name: 'clean',
  description: 'repair what a tunnel that was killed has left: resolver settings in files',
  usage: '[options]',
  takesOperands: false,
  groups: [],
  answersSshuttle: false,
  after: '',
};

/**
 * Prints what was repaired, one line each. Throws TunnelError `clean-incomplete` if something could
 * not be.
 */
export function reportRecovery(
  { done, failed }: RecoveryReport,
  output: (text: string) => void,
): void {
  for (const line of done) output(`${line}\n`);
  if (done.length + failed.length === 0) output('nothing to repair\n');
  if (failed.length === 0) return;
  throw new TunnelError('clean-incomplete', failed.join('; '), {
    hint: 'run "sudo tunnel clean" if the tunnel was started as root',
  });
}
