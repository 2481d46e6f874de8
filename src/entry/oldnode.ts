/** What a Node that is too old does in place of run.ts. It uses only what Node has had for long. */
import { writeSync } from 'node:fs';
import { execExitCodeOf, exitCodeOf } from '../cli/exit.ts';
import { OLDEST_NODE } from '../cli/oldestnode.ts';
import { reportError } from '../cli/report.ts';
import { TunnelError } from '../errors/errors.ts';

export function refuseNode([command]: readonly string[]): void {
  const { versions, execPath } = process;
  const error = new TunnelError(
    'node-version',
    `Node ${versions.node} is too old: this needs ${OLDEST_NODE} or later`,
    { hint: `install a newer one, and see that it comes before ${execPath} in PATH` },
  );
  process.exitCode = command === 'exec' ? execExitCodeOf(error) : exitCodeOf(error);
  try {
    writeSync(2, reportError(error));
  } catch {
    // Standard error is closed, or full: the status says it.
  }
}
