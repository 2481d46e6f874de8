/**
 * How the helper becomes root: directly when this process is root, else through sudo, else through
 * doas.
 */
import { accessSync, closeSync, constants, openSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { TunnelError } from '../../errors/errors.ts';

export interface Elevation {
  readonly via: 'root' | 'sudo' | 'doas';
  /** Whether a password can be asked for. */
  readonly interactive: boolean;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/**
 * What tells the helper whose it is. Left over from a shell that was itself started that way, it
 * would tell the wrong one.
 */
const CALLER_VARIABLES = [
  'SUDO_UID',
  'SUDO_GID',
  'SUDO_USER',
  'SUDO_COMMAND',
  'DOAS_USER',
] as const;

/**
 * How to run `program` with `args` as root here. Throws TunnelError `capture-privileges` when there
 * is no way.
 */
export function elevation(program: string, args: readonly string[]): Elevation {
  if (process.geteuid?.() === 0) {
    return { via: 'root', interactive: false, command: program, args, env: {} };
  }
  const interactive = hasTerminal();
  const env = { ...process.env };
  for (const name of CALLER_VARIABLES) delete env[name];
  for (const via of ['sudo', 'doas'] as const) {
    const command = findProgram(via);
    if (command === undefined) continue;
    // Both ask at the terminal, not on stdin, and both know -n.
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

/** Whether this process has a controlling terminal, at which sudo could ask. */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', constants.O_RDWR | constants.O_NOCTTY));
    return true;
  } catch {
    // ENXIO: none.
    return false;
  }
}

function findProgram(name: string): string | undefined {
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    // An empty entry means the working directory: nothing to be run from there with a password.
    if (directory === '') continue;
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // Not here: the next directory.
    }
  }
  return undefined;
}
