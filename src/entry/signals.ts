/**
 * INT, TERM and HUP stop what runs, in order. Without a terminal HUP has it read its line again.
 */
import { constants } from 'node:os';
import { isLinux } from '../base/platform.ts';
import { EXIT_SIGNAL_BASE } from '../cli/exit.ts';
import { processStat } from '../system/process.ts';
import { hasTerminal } from '../system/terminal.ts';
import type { Self } from './self.ts';

/**
 * A signal to the whole process group may arrive twice under sudo: directly, and passed on by the
 * part that is root.
 */
const SAME_SIGNAL_MS = 100;

const STOPS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
type StopSignal = (typeof STOPS)[number];

/** What the signals have asked for. */
export interface Stop {
  readonly signal: AbortSignal;
  /** The number of the first one. */
  readonly by: number | undefined;
  /** As a signal does, but for another reason. */
  now(): void;
}

/**
 * Without a controlling terminal HUP calls `reload` and stops nothing. To be called after
 * stopOnSignals().
 *
 * Whether there is one is asked now: a terminal that hangs up is taken from its session before the
 * signal comes. Only a new session, which -D makes later, has none from then on. Other systems than
 * Linux have no -D.
 */
export function reloadOnHangup(reload: () => void): void {
  const session = () => (isLinux() ? processStat('self')?.session : 0);
  const withTerminal = hasTerminal() ? session() : undefined;
  const stops = process.listeners('SIGHUP');
  process.removeAllListeners('SIGHUP');
  process.on('SIGHUP', (name: NodeJS.Signals) => {
    const ends = withTerminal !== undefined && session() === withTerminal;
    if (ends) for (const stop of stops) stop(name);
    else reload();
  });
}

/** The first signal starts an orderly stop. A later INT (Ctrl-C again) ends the program at once. */
export function stopOnSignals(self: Self): Stop {
  const controller = new AbortController();
  const { signal } = controller;
  let first: StopSignal | undefined;
  let began = 0;
  for (const name of STOPS) {
    process.on(name, () => {
      const within = self.privileged === undefined ? 0 : SAME_SIGNAL_MS;
      const isLater = signal.aborted && performance.now() - began >= within;
      if (isLater && name === 'SIGINT') self.end(EXIT_SIGNAL_BASE + constants.signals[name]);
      if (first === undefined) {
        began = performance.now();
        first = name;
      }
      controller.abort();
    });
  }
  return {
    signal,
    get by() {
      return first === undefined ? undefined : constants.signals[first];
    },
    now: () => controller.abort(),
  };
}
