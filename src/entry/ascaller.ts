/**
 * What is different under sudo and doas. There the program runs in a second process, which is the
 * caller's. The first one starts it, stays root, and does what it is asked for
 * (session/ascaller.ts); `exec` becomes its caller by itself.
 */
import { requireLinux } from '../base/platform.ts';
import { filesForCaller } from '../cli/node.ts';
import { EXIT } from '../errors/codes.ts';
import { TunnelError } from '../errors/errors.ts';
import { addon } from '../native/addon.ts';
import { type Observer, silentObserver } from '../observe/observer.ts';
import type { Machine } from '../session/machine.ts';
import type { Self } from './self.ts';
import { stopOnSignals } from './signals.ts';
import { withoutStreams } from './streams.ts';

/** Errors that an agent may have prevented. */
const ASKS_FOR_AGENT: ReadonlySet<string> = new Set([
  'auth-failed',
  'auth-cancelled',
  'no-terminal',
]);

const UNDER_SUDO = 'tunnel under sudo and doas';

/** For messages that wait for the terminal when it is left. */
const FLUSH_MS = 1000;

/**
 * Starts the program again as the caller of sudo or doas, and ends with its status. Returns if the
 * caller is root.
 */
export async function startAsCaller(self: Self): Promise<void> {
  requireLinux(UNDER_SUDO);
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
    const { daemon } = self;
    status = await runAsCaller(start, {
      observer,
      stop,
      daemon: daemon && {
        fd: daemon.fd,
        detach() {
          self.logToSystem(FLUSH_MS);
          addon().detach();
        },
      },
    });
  } catch (error) {
    if (!(stop.aborted && error === stop.reason)) throw error;
    status = EXIT.ok;
  }
  self.dropLog();
  if (status === undefined) return giveStreamsBack();
  self.leave(status);
}

/**
 * For `exec`, which is root until the command's network is made: the files that its options name
 * are opened as the caller of sudo or doas. Returns what ends that.
 */
export async function readAsCaller(): Promise<() => void> {
  requireLinux(UNDER_SUDO);
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
