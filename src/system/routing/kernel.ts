/** What the kernel's tables of routes and rules hold, and which route it would take. */
import { constants } from 'node:os';
import { addon } from '../../native/addon.ts';
import type { Family } from '../../net/address.ts';
import {
  type ConnectedNetwork,
  dumpBody,
  type KernelDevice,
  type KernelRoute,
  type KernelRule,
  linkBody,
  linksBody,
  lookUpBody,
  RTM,
  readDeviceName,
  readDevices,
  readNetworks,
  readRoutes,
  readRules,
  type Sample,
} from './rtnetlink.ts';

/** Of one dump: some hundred thousand routes. A larger table isn't looked through. */
const MAX_DUMP_BYTES = 16 * 1024 * 1024;

const ABSENT: readonly number[] = [constants.errno.EOPNOTSUPP, constants.errno.EAFNOSUPPORT];

export interface KernelRouting {
  /** Of all tables. Throws an Error with `errno` if they can't be read. */
  routes(family: Family): readonly KernelRoute[];
  rules(family: Family): readonly KernelRule[];
  /** Of this machine's own addresses. */
  networks(family: Family): readonly ConnectedNetwork[];
  /** The route that a new connection would take; an errno if the kernel refuses it. */
  lookUp(sample: Sample): KernelRoute | number;
  /** `eth0` for an index. undefined: there is no such device. */
  deviceName(index: number): string | undefined;
  /** Those by which packets may leave. */
  devices(): readonly KernelDevice[];
}

/** By rtnetlink(7). Needs neither privileges nor other programs. */
export const linuxRouting: KernelRouting = {
  // A family that the kernel doesn't have makes it dump all others.
  routes: (family) =>
    readRoutes(dump(RTM.getRoute, dumpBody('route', family))).filter(
      ({ destination }) => destination.family === family,
    ),
  rules: (family) =>
    readRules(dump(RTM.getRule, dumpBody('rule', family))).filter((rule) => rule.family === family),
  networks: (family) =>
    readNetworks(dump(RTM.getAddress, dumpBody('address', family))).filter(
      ({ prefix }) => prefix.family === family,
    ),
  lookUp(sample) {
    const answer = askOne(RTM.getRoute, lookUpBody(sample));
    if (typeof answer === 'number') return answer;
    return readRoutes(answer)[0] ?? 0;
  },
  deviceName(index) {
    const answer = askOne(RTM.getLink, linkBody(index));
    return typeof answer === 'number' ? undefined : readDeviceName(answer);
  },
  devices: () => readDevices(dump(RTM.getLink, linksBody())),
};

function dump(type: number, body: Uint8Array): Uint8Array {
  try {
    return addon().rtnetlinkAsk(type, true, body, MAX_DUMP_BYTES);
  } catch (error) {
    // The kernel was built without rules, or without the family.
    if (ABSENT.includes(errnoOf(error) ?? 0)) return new Uint8Array();
    throw error;
  }
}

/** An errno if the kernel refuses. */
function askOne(type: number, body: Uint8Array): Uint8Array | number {
  try {
    return addon().rtnetlinkAsk(type, false, body, MAX_DUMP_BYTES);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return errno;
  }
}

function errnoOf(error: unknown): number | undefined {
  return error instanceof Error && 'errno' in error && typeof error.errno === 'number'
    ? error.errno
    : undefined;
}
