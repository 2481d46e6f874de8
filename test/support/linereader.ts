/**
 * What the program says to a command line that it doesn't accept. The line is read in this process,
 * by what the program reads it with: hundreds of starts of Node would take a minute.
 */
import assert from 'node:assert/strict';
import { execExitCodeOf, exitCodeOf } from '../../src/cli/exit.ts';
import { isExec, runCommandLine } from '../../src/cli/program.ts';
import { reportError } from '../../src/cli/report.ts';
import { standInCommands } from './commands.ts';

export interface Refusal {
  readonly status: number;
  readonly stderr: string;
}

/** Fails if the line is accepted, or prints something. */
export async function refusalOf(args: readonly string[]): Promise<Refusal> {
  const commands = standInCommands((name) => assert.fail(`${name} would be run`));
  const unwanted = (text: string) => assert.fail(`printed: ${text}`);
  try {
    await runCommandLine(args, commands, { output: unwanted, columns: 80 });
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    const status = isExec(args) ? execExitCodeOf(error) : exitCodeOf(error);
    return { status, stderr: reportError(error, false) };
  }
  return assert.fail('accepted, and nothing was run');
}
