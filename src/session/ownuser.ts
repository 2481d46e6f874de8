/** Whose the clients of a proxy on loopback are. */

import { isLinux, systemName } from '../base/platform.ts';
import type { OwnUserCheck } from '../capture/proxy/proxy.ts';
import { reasonOf } from '../errors/reason.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';
import { SocketOwners } from '../system/socketowner.ts';

/**
 * Confirms the clients whose sockets were made by this process's own user, as who it runs then:
 * `exec` becomes its command's user. The first that is turned away is told as a warning, the others
 * with -v. Only Linux says whose a connection is: elsewhere all are confirmed, and
 * adviseAboutOtherUsers() says so.
 */
export function ownUserCheck(observer: Observer, owners = new SocketOwners()): OwnUserCheck {
  if (!isLinux()) return () => true;
  let told = false;
  const refuse = (client: Destination, why: string) => {
    const text = `the proxy client ${formatDestination(client)} was turned away: ${why}`;
    observer.log(told ? 'info' : 'warning', text);
    told = true;
    return false;
  };
  const judge = (client: Destination, uid: number | undefined) => {
    if (uid !== undefined && uid === process.geteuid?.()) return true;
    const whose = uid === undefined ? 'no process of this machine' : `uid ${uid}`;
    return refuse(client, `it is ${whose} (--proxy-shared admits all users)`);
  };
  return (client, proxy, user) => {
    const uid = user ?? owners.uidOf(client, proxy);
    if (typeof uid === 'number') return judge(client, uid);
    return uid.then(
      (found) => judge(client, found),
      (error: unknown) => refuse(client, `whose it is can't be read: ${reasonOf(error)}`),
    );
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
