/** Starts the programs of the fault tests. */
import { fileURLToPath } from 'node:url';
import type { SshOptions } from '../../src/config/configuration.ts';
import type { Namespace } from './namespace.ts';
import type { Child } from './process.ts';
import { REMOTE } from './tunnel.ts';

const TUNED = fileURLToPath(new URL('./tuned.js', import.meta.url));
const STORM = fileURLToPath(new URL('./storm.js', import.meta.url));
const START_TIMEOUT_MS = 20_000;

/** TUNNEL_LONG=1: the fault tests take as long as the faults that they are about, with the program's own settings. */
export const LONG = process.env['TUNNEL_LONG'] === '1';

/** Starts the program with settings that its command line doesn't have (tuned.ts), and waits until it is ready. */
export async function startTuned(
  namespace: Namespace,
  settings: Partial<SshOptions>,
  args: readonly string[],
  remote = REMOTE,
  wrapper: readonly string[] = [],
): Promise<Child> {
  const argv = [...wrapper, process.execPath, TUNED, JSON.stringify(settings), '-r', remote, ...args];
  const tunnel = await namespace.spawn(argv);
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
