/**
 * The command of `tunnel exec` as a job: it must react to its shell and terminal as if it ran
 * without `tunnel exec`.
 *
 * This process and the command are in one process group (the caller's), so that a pipeline around
 * them works and the terminal's signals reach the command. From here on this process:
 *
 *   passes on   signals that are sent to it alone (kill, a supervisor's TERM; if it leads the
 *               session, the HUP for a lost terminal), but not what the terminal sends to the group
 *   stops       when the command has been stopped (Ctrl-Z), so that the shell sees the job stopped;
 *               a command that ignores Ctrl-Z keeps it running. The shell's CONT goes to the group;
 *               one sent to this process alone is passed on
 *   ends        when the command does: with 128 + N if signal N ended it
 *
 * It stops only if there is a terminal. Without one nobody would continue it, and a command that is
 * stopped for a while from outside (a debugger, cpulimit) still needs its network afterwards.
 *
 * Without the native part, and on other systems, nothing tells a signal of the terminal from one
 * that was sent to this process alone. INT and QUIT are then taken for the terminal's, which the
 * command has had; TERM and HUP are passed on.
 */
import { constants } from 'node:os';
import { addonIfAny } from '../../native/addon.ts';
import { hasTerminal } from '../terminal.ts';
import type { Command, CommandStatus } from './launcher.ts';

/** A shell's exit status for a program that a signal ended is this plus the signal's number. */
const SIGNAL_BASE = 128;

export interface Job {
  /** The exit status that a shell would report for the command. */
  statusOf(ended: CommandStatus): number;
  end(): void;
}

/**
 * Starts to pass signals on to the command, and to stop when it stops. `end` undoes that. Call it
 * before the command runs, so that no signal is lost.
 */
export function superviseJob(command: Pick<Command, 'pid' | 'kill'>): Job {
  const native = addonIfAny();
  if (native === undefined) return superviseByEvents(command);
  const { pid } = command;
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

const OF_THE_TERMINAL = ['SIGINT', 'SIGQUIT'] as const;
const PASSED_ON = ['SIGTERM', 'SIGHUP'] as const;

function superviseByEvents(command: Pick<Command, 'kill'>): Job {
  const former = new Map<NodeJS.Signals, NodeJS.SignalsListener[]>();
  const take = (signal: NodeJS.Signals, listener: NodeJS.SignalsListener) => {
    former.set(signal, process.listeners(signal));
    process.removeAllListeners(signal);
    process.on(signal, listener);
  };
  for (const signal of OF_THE_TERMINAL) take(signal, () => {});
  for (const signal of PASSED_ON) take(signal, () => command.kill(signal));
  return {
    statusOf: (ended) => exitStatus(ended),
    end() {
      for (const [signal, listeners] of former) {
        process.removeAllListeners(signal);
        for (const listener of listeners) process.on(signal, listener);
      }
    },
  };
}

/**
 * The exit status that a shell would report. `signalNumber`: the signal that ended the command, if
 * Node has no name for it (0: none).
 */
export function exitStatus({ status, signal }: CommandStatus, signalNumber = 0): number {
  if (signal !== null) return SIGNAL_BASE + constants.signals[signal];
  return signalNumber === 0 ? (status ?? 0) : SIGNAL_BASE + signalNumber;
}
