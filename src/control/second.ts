/** `tunnel up` starts a profile once. */
import { TunnelError } from '../errors/errors.ts';
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
