/** The controlling terminal (tty(4)), whatever stdin and stderr are connected to. */
import { closeSync, constants, openSync } from 'node:fs';
import { isLinux } from '../base/platform.ts';
import { processStat } from './process.ts';

export const TERMINAL = '/dev/tty';

/** Whether this process has one. */
export function hasTerminal(): boolean {
  try {
    closeSync(openSync(TERMINAL, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK));
    return true;
  } catch {
    return false; // ENXIO: none; ENOENT: not even the device
  }
}

/**
 * Whether this process can ask at the terminal: in the background the kernel would stop it. Only
 * Linux tells; elsewhere it is tried.
 */
export function ownsTerminal(): boolean {
  if (!isLinux()) return hasTerminal();
  const stat = processStat('self');
  return stat !== undefined && stat.group === stat.foreground && hasTerminal();
}
