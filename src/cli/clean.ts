/** `tunnel clean`: repairs what killed tunnels have left on this machine. */
import { TunnelError } from '../errors/errors.ts';
import type { RecoveryReport } from '../system/resolver/recover.ts';
import type { CommandDeclaration } from './command.ts';

export const CLEAN: CommandDeclaration = {
  name: 'clean',
  description:
    'repair what a killed tunnel has left: resolver settings in files, devices, unreachable routes',
  summary: 'repair what a killed tunnel has left behind',
  purpose: 'Repair',
  usage: '[options]',
  takesOperands: false,
  groups: [],
  answersSshuttle: false,
  after: '',
};

/** Prints one line for each repair. Throws TunnelError `clean-incomplete` if one of them failed. */
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
