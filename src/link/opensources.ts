/**
 * Whose an open is, and what it is for: the groups by which places are shared (openshares.ts).
 *
 *   originator   of this machine   its user; of our own user's, the process as well, so that a web
 *                                  page in the browser is apart from a terminal
 *                of another        its address, or its /64
 *                none              the tunnel's own: queries for names, a cloud's catalog
 *   destination  its host, and its /24, its /64, or the domain above its name
 *
 * Who has a socket, only the kernel knows (system/socketsources.ts), and which process it is takes
 * a moment. It is asked when places are short. Until then all of this machine counts as one.
 */
import { isIP } from 'node:net';
import { addressBytes } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import type { SocketSource } from '../system/socketsources.ts';
import type { Groups } from './openshares.ts';

/** Finds whose the sockets of this machine are, or of the network of one command. */
export interface SourceFinder {
  /** Whether the canonical address is one of this machine's. */
  isHere(address: string): boolean;
  /**
   * Whose the socket is that has this address and is connected to `peer`; undefined: nobody's any
   * more. A promise where it takes a moment; never rejects.
   */
  sourceOf(
    socket: Destination,
    peer: Destination,
  ): SocketSource | undefined | Promise<SocketSource | undefined>;
}

/** What separates the parts of a group's key. */
const SEPARATOR = '\n';
const OWN = 'this program';
const HERE = 'this machine';

/** The groups of an open before its user is asked for. */
export function groupsOf(
  destination: Destination,
  originator: Destination | undefined,
  finder: SourceFinder | undefined,
): Groups {
  if (originator === undefined) return groups(OWN, '', destination);
  const here = finder?.isHere(originator.host) ?? true;
  return groups(here ? HERE : networkOf(originator.host), '', destination);
}

/**
 * The groups of an open of this machine, once it is known whose socket has asked for it; undefined:
 * nobody's any more. All those are one group, and so are a user's whose process is not known.
 */
export function groupsOfUser(
  destination: Destination,
  user: number | undefined,
  process: string | undefined,
): Groups {
  const owner = user === undefined ? 'sockets that are closed' : `user ${user}`;
  return groups(owner, process ?? '', destination);
}

/** For messages: `user 1000, process 4711 (firefox)`. */
export function formatSource([, process]: Groups): string {
  const [owner = '', name = ''] = process.split(SEPARATOR);
  return name === '' ? owner : `${owner}, process ${name}`;
}

/** For messages: `10.77.5.0/24`. */
export function formatPrefix([, , prefix]: Groups): string {
  return prefix.split(SEPARATOR)[2] ?? '';
}

function groups(owner: string, name: string, { host }: Destination): Groups {
  const process = `${owner}${SEPARATOR}${name}`;
  const prefix = `${process}${SEPARATOR}${prefixOf(host)}`;
  return [owner, process, prefix, `${prefix}${SEPARATOR}${host}`];
}

function prefixOf(host: string): string {
  const family = isIP(host);
  if (family === 4) return `${host.slice(0, host.lastIndexOf('.'))}.0/24`;
  if (family === 6) return networkOf(host);
  const dot = host.indexOf('.');
  return dot < 0 ? host : `*${host.slice(dot)}`;
}

/** Hosts of one /64 may be one host: it chooses its addresses. */
function networkOf(address: string): string {
  const [plain = ''] = address.split('%');
  if (isIP(plain) !== 6) return address;
  const bytes = Buffer.from(addressBytes(plain)).subarray(0, 8).toString('hex');
  return `${bytes.replace(/(.{4})(?!$)/g, '$1:')}::/64`;
}
