/**
 * What is different under sudo and doas. There the program runs in a second process, which is the
 * caller's. The first one starts it, stays root, and does what it is asked for
 * (session/ascaller.ts); `exec` becomes its caller by itself.
 */
import { filesForCaller } from '../cli/node.ts';
import { EXIT } from '../errors/codes.ts';
import { TunnelError } from '../errors/errors.ts';
import { type Observer, silentObserver } from '../observe/observer.ts';
import type { Machine } from '../session/machine.ts';
import type { Self } from './self.ts';
import { stopOnSignals } from './signals.ts';

/** Errors that an agent may have prevented. */
const ASKS_FOR_AGENT: ReadonlySet<string> = new Set([
  'auth-failed',
  'auth-cancelled',
  'no-terminal',
]);

/**
 * Starts the program again as the caller of sudo or doas, and ends with its status. Returns if the
 * caller is root.
 */
export async function startAsCaller(self: Self): Promise<void> {
  const giveStreamsBack = withoutStreams();
  const stop = stopOnSignals(self).signal;
  const { runAsCaller } = await import('../session/ascaller.ts');
  const [, script = ''] = process.argv;
  const program = [process.execPath, ...process.execArgv, script];
  let status: number | undefined;
  try {
    const observer = self.createLog('notice');
    const variables = filesForCaller(process.env);
    const start = { program, args: self.args, env: process.env, variables };
    status = await runAsCaller(start, { observer, stop });
  } catch (error) {
    if (!(stop.aborted && error === stop.reason)) throw error;
    status = EXIT.ok;
  }
  self.dropLog();
  if (status === undefined) return giveStreamsBack();
  self.leave(status);
}

/**
 * Takes Node's own streams away until the function that is returned is called: when Node first
 * looks at one, which it does whenever a pipe closes, it opens the terminal again, as root.
 */
function withoutStreams(): () => void {
  const names = ['stdin', 'stdout', 'stderr'] as const;
  const before = names.map((name) => Object.getOwnPropertyDescriptor(process, name));
  for (const name of names)
    Object.defineProperty(process, name, { value: undefined, configurable: true });
  return () => {
    for (const [i, name] of names.entries())
      Object.defineProperty(process, name, before[i] ?? { value: undefined });
  };
}

/**
 * For `exec`, which is root until the command's network is made: the files that its options name
 * are opened as the caller of sudo or doas. Returns what ends that.
 */
export async function readAsCaller(): Promise<() => void> {
  const [{ actAs }, { findCaller }] = await Promise.all([
    import('../system/launcher/caller.ts'),
    import('../system/launcher/launcher.ts'),
  ]);
  return actAs(await findCaller(silentObserver));
}

/** What needs root goes to the part of the program that is. Undefined: the default. */
export async function machineBeside({ privileged }: Self): Promise<{ readonly machine?: Machine }> {
  if (privileged === undefined) return {};
  const { linuxBeside } = await import('../session/beside.ts');
  return { machine: linuxBeside(privileged) };
}

/** sudo keeps the agent away from the programs that it starts. */
export function adviseAboutAgent({ privileged }: Self, error: unknown, observer: Observer): void {
  if (privileged === undefined || process.env['SSH_AUTH_SOCK'] !== undefined) return;
  if (!(error instanceof TunnelError) || !ASKS_FOR_AGENT.has(error.code)) return;
  observer.log(
    'notice',
    'no agent was asked, because sudo and doas drop SSH_AUTH_SOCK: "sudo --preserve-env=SSH_AUTH_SOCK tunnel ..." keeps it',
  );
}
