/** `tunnel clean`: what tunnels that are gone have left on this machine is undone. */
import { reasonOf } from '../errors/reason.ts';
import { formatPrefix } from '../net/prefix.ts';
import type { Observer } from '../observe/observer.ts';
import { removeLeftDevices } from '../system/helper/leftovers.ts';
import { isAbandonedResolvConf, RESOLV_CONF } from '../system/resolver/file.ts';
import type { RecoveryReport } from '../system/resolver/recover.ts';
import { leftUnreachable } from '../system/routing/unreachable.ts';
import { linux, type Machine } from './machine.ts';

/** Devices that killed helpers have left (system/helper/leftovers.ts). */
type RemoveDevices = (observer: Observer) => Promise<RecoveryReport>;
type Cleaned = Pick<Machine, 'recover' | 'routing' | 'startHelper' | 'privileged'>;

const NOTHING: RecoveryReport = { done: [], failed: [] };

/** Starts the privileged helper if there are routes to remove. Never rejects. */
export async function cleanMachine(
  observer: Observer,
  machine: Cleaned = linux,
  removeDevices: RemoveDevices = removeLeftDevices,
  isAbandoned: () => boolean = isAbandonedResolvConf,
): Promise<RecoveryReport> {
  const files = await machine.recover(observer);
  // Their routes go with them; only then it shows what else is left.
  // The privileged part has removed them already: it recovers as root.
  const devices = machine.privileged === undefined ? await removeDevices(observer) : NOTHING;
  const done = [...files.done, ...devices.done];
  const failed = [...files.failed, ...devices.failed];
  // With the devices gone it shows whose it was. The journal may be another user's.
  if (isAbandoned())
    failed.push(
      `${RESOLV_CONF} names the DNS server of a tunnel that is gone, and your journal does not have what was there before`,
    );
  try {
    const reachable = await removeLeftRoutes(observer, machine);
    return { done: [...done, ...reachable], failed };
  } catch (error) {
    const why = `unreachable routes of a killed tunnel can't be removed: ${reasonOf(error)}`;
    return { done, failed: [...failed, why] };
  }
}

/** Returns a sentence for each prefix. Rejects as startHelper and the helper do. */
async function removeLeftRoutes(observer: Observer, machine: Cleaned): Promise<readonly string[]> {
  const left = leftUnreachable(machine.routing);
  if (left.length === 0) return [];
  const helper = await machine.startHelper({ observer, signal: new AbortController().signal });
  try {
    await helper.setUnreachable([]);
  } finally {
    await helper.close();
  }
  for (const _ of left) observer.count('tunnel_recovered_total');
  return left.map((prefix) => `${formatPrefix(prefix)} is no longer unreachable`);
}
