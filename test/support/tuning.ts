/** Starts the programs of the fault tests. */
import { fileURLToPath } from 'node:url';
import type { Namespace } from './namespace.ts';
import type { Child } from './process.ts';
import { MAIN, REMOTE } from './tunnel.ts';

const STORM = fileURLToPath(new URL('./storm.js', import.meta.url));
const START_TIMEOUT_MS = 20_000;

/**
 * TUNNEL_LONG=1: faults in the fault tests last as long as in reality, and the program keeps its
 * own settings.
 */
export const LONG = process.env['TUNNEL_LONG'] === '1';

/** Seconds: --keepalive and --reconnect-hold. */
export interface Tuning {
  readonly keepalive?: number;
  readonly reconnectHold?: number;
}

/** Starts the program, and waits until it is ready. */
export async function startTuned(
  namespace: Namespace,
  { keepalive, reconnectHold }: Tuning,
  args: readonly string[],
  remote = REMOTE,
  wrapper: readonly string[] = [],
): Promise<Child> {
  const options = [
    ...(keepalive === undefined ? [] : ['--keepalive', String(keepalive)]),
    ...(reconnectHold === undefined ? [] : ['--reconnect-hold', String(reconnectHold)]),
  ];
  const tunnel = await namespace.spawn([...wrapper, MAIN, ...options, '-r', remote, ...args]);
  await tunnel.waitForLine(/tunnel: ready\n/, START_TIMEOUT_MS);
  return tunnel;
}

/** See storm.ts. */
export function startStorm(
  namespace: Namespace,
  host: string,
  seconds: number,
  workers: number,
): Promise<Child> {
  return namespace.spawn([process.execPath, STORM, host, String(seconds), String(workers)]);
}
