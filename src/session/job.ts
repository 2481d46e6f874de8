/** How a command is run to its end, whichever way it was started. */
import { superviseJob } from '../system/launcher/job.ts';
import type { PreparedCommand } from '../system/launcher/launcher.ts';
import type { Variables } from '../system/launcher/protocol.ts';

/**
 * Has the command started and waits for its end; its exit status. From here on signals are the
 * command's: also the one that asked for a stop the moment before.
 */
export async function runToEnd(
  prepared: PreparedCommand,
  stop: AbortSignal,
  variables: Variables,
): Promise<number> {
  const { command } = prepared;
  const job = superviseJob(command);
  const onStop = () => command.kill('SIGTERM');
  stop.addEventListener('abort', onStop, { once: true });
  try {
    await prepared.execute(variables);
    return job.statusOf(await command.exited);
  } finally {
    stop.removeEventListener('abort', onStop);
    job.end();
  }
}
