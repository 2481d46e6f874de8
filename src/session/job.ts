/** How a command is run to its end, whichever way it was started. */
import { superviseJob } from '../system/launcher/job.ts';
import type { Command } from '../system/launcher/launcher.ts';

/**
 * Has the command started and waits for its end; its exit status. From here on signals are the
 * command's: also the one that asked for a stop the moment before.
 */
export async function runToEnd(
  { pid, exited }: Command,
  stop: AbortSignal,
  execute: () => Promise<void>,
): Promise<number> {
  const job = superviseJob(pid);
  const onStop = () => process.kill(pid, 'SIGTERM');
  stop.addEventListener('abort', onStop, { once: true });
  try {
    await execute();
    return job.statusOf(await exited);
  } finally {
    stop.removeEventListener('abort', onStop);
    job.end();
  }
}
