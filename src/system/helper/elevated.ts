/** Waits for what starts the helper: sudo, doas, or the helper's first process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { TunnelError } from '../../errors/errors.ts';
import { nativeFault } from '../../native/files.ts';
import type { Observer } from '../../observe/observer.ts';
import type { Elevation } from '../programs/privileges.ts';
import { refusedStart } from './errors.ts';

/** How much to keep of what sudo or the helper print when there is no terminal to show it. */
const MAX_STDERR = 4_096;
/** A signal of the terminal's reaches all its processes within this. */
const SAME_SIGNAL_MS = 100;

/** Runs the helper by sudo or doas, or directly; resolves when what was started has ended well. */
export async function runElevated(
  elevated: Elevation,
  observer: Observer,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (elevated.interactive) {
    observer.log('info', `${elevated.via} starts the helper that makes the TUN device`);
  }
  // Sudo's own messages belong on the terminal. Without one they become part of the error.
  const asked = observer.waiting?.({
    what: () => (elevated.via === 'root' ? undefined : `for ${elevated.via} to start the helper`),
    mayAsk: () => elevated.interactive,
  });
  const child = spawn(elevated.command, elevated.args, {
    stdio: ['ignore', 'ignore', elevated.interactive ? 'inherit' : 'pipe'],
    env: elevated.env,
  });
  try {
    await untilExit(child, elevated, signal);
  } finally {
    asked?.();
  }
}

/** Waits until the started process has exited; throws if it failed. */
async function untilExit(
  child: ChildProcess,
  elevated: Elevation,
  signal: AbortSignal | undefined,
): Promise<void> {
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    stderr = (stderr + chunk).slice(-MAX_STDERR);
  });
  try {
    const exit = once(child, 'close', signal === undefined ? {} : { signal });
    const [status, by] = (await exit) as [number | null, NodeJS.Signals | null];
    if (status === 0) return;
    // Ctrl-C goes to both: sudo's end may be seen before the signal of our own.
    if (elevated.interactive && signal !== undefined) await delay(SAME_SIGNAL_MS);
    if (!signal?.aborted) throw refusedStart(elevated, status ?? by ?? 'unknown', stderr);
    throw signal.reason;
  } catch (cause) {
    if (cause instanceof TunnelError) throw cause;
    if (signal?.aborted) {
      // Sudo may already run as root, so we may not be able to kill it. Without the socket the
      // helper can't start anyway.
      child.on('error', () => {}).kill();
      child.stderr?.destroy();
      child.unref();
      throw signal.reason;
    }
    const { command, via } = elevated;
    const { reason, hint } = nativeFault(command, cause);
    throw new TunnelError('capture-failed', `${command} can't be run: ${reason}`, {
      hint: via === 'root' ? hint : `see whether ${via} works`,
      cause,
    });
  }
}
