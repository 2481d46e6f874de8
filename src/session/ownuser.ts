/** Whose the clients of a proxy on loopback are. */
import type { OwnUserCheck } from '../capture/proxy/proxy.ts';
import { reasonOf } from '../errors/reason.ts';
import { formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';
import { SocketOwners } from '../system/socketowner.ts';

/**
 * Confirms the clients whose sockets were made by this process's own user, as who it runs then:
 * `exec` becomes its command's user. The first that is turned away is told as a warning, the others
 * with -v.
 */
export function ownUserCheck(observer: Observer, owners = new SocketOwners()): OwnUserCheck {
  let told = false;
  const refuse = (text: string) => {
    observer.log(told ? 'info' : 'warning', text);
    told = true;
    return false;
  };
  return async (client, proxy) => {
    const at = `the proxy client ${formatDestination(client)}`;
    try {
      const uid = await owners.uidOf(client, proxy);
      if (uid !== undefined && uid === process.geteuid?.()) return true;
      const whose = uid === undefined ? 'no process of this machine' : `uid ${uid}`;
      return refuse(`${at} was turned away: it is ${whose} (--proxy-shared admits all users)`);
    } catch (error) {
      return refuse(`${at} was turned away: whose it is can't be read: ${reasonOf(error)}`);
    }
  };
}
