/**
 * The command of `tunnel exec` as a job: what a shell and its terminal do to it must look as if
 * there were no `tunnel exec`.
 *
 * This process and the command are in one process group (the caller's), so that a pipeline around
 * them works and the terminal's signals reach the command. From here on this process:
 *
 *   passes on   what is sent to it alone (kill, a supervisor's TERM; the HUP for a terminal that is
 *               gone, where it leads the session), and nothing that the terminal sends to all
 *   stops       when the command has been stopped (Ctrl-Z), so that the shell sees the job stopped;
 *               a command that ignores Ctrl-Z keeps it running. The shell's CONT goes to the group;
 *               one sent to this process alone is passed on
 *   ends        when the command does: 128 + N when signal N ended it
 *
 * It stops only where there is a terminal: without one nobody would continue it, and a command that
 * is stopped for a while from outside (a debugger, cpulimit) must find its network again.
 */
import { constants } from 'node:os';
import { addon } from '../../native/addon.ts';
import { hasTerminal } from '../terminal.ts';
import type { CommandStatus } from './launcher.ts';

/** Shells report a program that a signal ended as this plus the signal's number. */
const SIGNAL_BASE = 128;

export interface Job {
  /** The exit status of the command that has ended so, as a shell has it. */
  statusOf(ended: CommandStatus): number;
  end(): void;
}

/**
 * Begins to pass signals on to the command `pid`, and to stop when it is stopped. `end` undoes
 * that. It begins before the command does, so that no signal is lost in between.
 */
export function superviseJob(pid: number): Job {
  const native = addon();
  const onChild = () => {
    const signal = native.childStopped(pid);
    if (signal !== 0 && hasTerminal()) native.stopSelf(signal);
  };
  process.on('SIGCHLD', onChild);
  native.forwardSignals(pid);
  return {
    statusOf: (ended) => exitStatus(ended, native.commandEndedBy()),
    end() {
      native.forwardSignals(0);
      process.off('SIGCHLD', onChild);
    },
  };
}

/**
 * As a shell has it. `signalNumber`: of the signal that has ended it, where Node has no name for it
 * (0: none).
 */
export function exitStatus({ status, signal }: CommandStatus, signalNumber = 0): number {
  if (signal !== null) return SIGNAL_BASE + constants.signals[signal];
  return signalNumber === 0 ? (status ?? 0) : SIGNAL_BASE + signalNumber;
}
