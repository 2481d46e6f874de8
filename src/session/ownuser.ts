/** Whose the clients of a proxy on loopback are. */

import { isLinux, systemName } from '../base/platform.ts';
import type { OwnUserCheck } from '../capture/proxy/proxy.ts';
import { reasonOf } from '../errors/reason.ts';
import { formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';
import { SocketOwners } from '../system/socketowner.ts';

/**
 * Confirms the clients whose sockets were made by this process's own user, as who it runs then:
 * `exec` becomes its command's user. The first that is turned away is told as a warning, the others
 * with -v. Only Linux says whose a connection is: elsewhere all are confirmed, and
 * adviseAboutOtherUsers() says so.
 */
export function ownUserCheck(observer: Observer, owners = new SocketOwners()): OwnUserCheck {
  if (!isLinux()) return () => Promise.resolve(true);
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

/** For proxies that only this user may use, and that ask for no password. */
export function adviseAboutOtherUsers(observer: Observer): void {
  if (isLinux()) return;
  observer.log(
    'warning',
    `${systemName()} does not tell whose a connection is: all users of this machine can use the proxy`,
    { hint: 'to keep others out, give it a password: --proxy-auth FILE' },
  );
}
