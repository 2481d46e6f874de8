/** Runs one of the system's programs and waits for its end. */
import { execFile } from 'node:child_process';
import { TunnelError } from '../../errors/errors.ts';
import { elevation } from './privileges.ts';

const TIMEOUT_MS = 10_000;
const MAX_OUTPUT_BYTES = 64 * 1024;
/** Not the user's PATH: some of these are run as root. */
const DIRECTORIES = '/usr/sbin:/usr/bin:/sbin:/bin';

export interface CommandResult {
  /** null: the program could not be started, was killed, or took too long. */
  readonly status: number | null;
  readonly stdout: string;
  /** The last line of its error output. */
  readonly complaint: string;
}

export type RunCommand = (program: string, args: readonly string[]) => Promise<CommandResult>;

/** Never rejects: the result has the error. */
export const runCommand: RunCommand = (program, args) => runWith(program, args, process.env);

/** The same with nothing of this process's environment. */
export const runPlainly: RunCommand = (program, args) => runWith(program, args, {});

function runWith(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const options = {
      timeout: TIMEOUT_MS,
      maxBuffer: MAX_OUTPUT_BYTES,
      env: { ...env, PATH: DIRECTORIES, LC_ALL: 'C' },
    };
    execFile(program, args, options, (error, stdout, stderr) => {
      const complaint = (stderr || error?.message || '').trim().split('\n').at(-1) ?? '';
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
      resolve({ status, stdout, complaint });
    });
  });
}

/**
 * The same as root, if no password has to be asked for: this process is root, or sudo or doas
 * remembers the password that was given for the helper.
 */
export const runElevated: RunCommand = async (program, args) => {
  try {
    const { via, interactive, command, args: elevated, env } = elevation(program, args);
    if (via === 'root') return await runCommand(program, args);
    return await runWith(command, interactive ? ['-n', ...elevated] : elevated, env);
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error;
    return { status: null, stdout: '', complaint: error.message };
  }
};
