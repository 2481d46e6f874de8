/** Tunnels of one name: `tunnel up` starts a profile once, and others are told. */
import { TunnelError } from '../errors/errors.ts';
import type { Observer } from '../observe/observer.ts';
import { findTunnels } from './client.ts';
import { type Whose, whoseProcess } from './directory.ts';

/**
 * Rejects with TunnelError `already-running` if this user has a tunnel of this name. Two that are
 * started in the same moment don't see each other: then what they capture, or their port, tells.
 */
export async function refuseSecond(name: string, whose: Whose = whoseProcess()): Promise<void> {
  const { tunnels } = await findTunnels(whose);
  const other = tunnels.find(({ user, status }) => status.name === name && user === whose.uid);
  if (other === undefined) return;
  throw new TunnelError('already-running', `${name} runs already, as process ${other.pid}`, {
    hint: `"tunnel status ${name}" shows it, "tunnel reload ${name}" reads its profile again, "tunnel down ${name}" ends it`,
  });
}

/**
 * Warns if this user has another tunnel of this name, which was given with --name. Nothing waits
 * for it. Never rejects.
 */
export async function warnOfSecond(
  name: string,
  observer: Observer,
  { pid = process.pid, whose = whoseProcess() } = {},
): Promise<void> {
  const { tunnels } = await findTunnels(whose);
  const other = tunnels.find(
    ({ user, status, pid: its }) => its !== pid && status.name === name && user === whose.uid,
  );
  if (other === undefined) return;
  observer.log(
    'warning',
    `another tunnel is called ${name} as well, process ${other.pid}: "tunnel status" and "tunnel stop" tell them apart by the process id only`,
  );
}
