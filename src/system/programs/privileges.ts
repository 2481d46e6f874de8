/**
 * How the helper becomes root: directly if this process is root, else through sudo, else through
 * doas.
 */
import { isAbsolute } from 'node:path';
import { TunnelError } from '../../errors/errors.ts';
import { findProgram, pathDirectories } from '../path.ts';
import { hasTerminal } from '../terminal.ts';

export interface Elevation {
  readonly via: 'root' | 'sudo' | 'doas';
  /** Whether a password can be asked for. */
  readonly interactive: boolean;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/**
 * They tell the helper who its user is. Ones that are left over from an outer sudo or doas would
 * name the wrong user.
 */
const CALLER_VARIABLES = [
  'SUDO_UID',
  'SUDO_GID',
  'SUDO_USER',
  'SUDO_COMMAND',
  'DOAS_USER',
] as const;

/**
 * How to run `program` with `args` as root here. Throws TunnelError `capture-privileges` if nothing
 * can.
 */
export function elevation(program: string, args: readonly string[]): Elevation {
  if (process.geteuid?.() === 0) {
    return { via: 'root', interactive: false, command: program, args, env: {} };
  }
  const interactive = hasTerminal();
  const env = { ...process.env };
  for (const name of CALLER_VARIABLES) delete env[name];
  // A program from the working directory must not get the password.
  const directories = pathDirectories().filter(isAbsolute);
  for (const via of ['sudo', 'doas'] as const) {
    const command = findProgram(via, directories);
    if (command === undefined) continue;
    // Both ask on the terminal, not on stdin, and both know -n.
    return {
      via,
      interactive,
      command,
      args: [...(interactive ? [] : ['-n']), '--', program, ...args],
      env,
    };
  }
  throw new TunnelError(
    'capture-privileges',
    'making a TUN device needs root, and neither sudo nor doas is here',
    {
      hint: 'run tunnel as root, or install sudo',
    },
  );
}
