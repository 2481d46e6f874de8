/**
 * What of this program's own traffic must pass by the routes that it captures with, and how: by
 * sockets bound to the device that would be used without them (system/routing/uplink.ts).
 *
 *   the SSH connection            deviceFor, for the client that dials (ssh/dial/device.ts)
 *   connections past the tunnel   uplink.connector()
 *   queries to this machine's     uplink.datagramSocket(), uplink.connector()
 *   resolvers
 */
import type { Configuration } from '../config/configuration.ts';
import { type DeviceFinder, Uplink } from '../connect/uplink.ts';
import { reasonOf } from '../errors/reason.ts';
import { family } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { hostPrefix, type Prefix } from '../net/prefix.ts';
import type { Observer } from '../observe/observer.ts';
import type { CapturedPrefixes } from '../policy/captured.ts';
import { addressToExclude } from '../ssh/dial/addresses.ts';
import type { DialDevice } from '../ssh/dial/device.ts';
import { uplinkDevice } from '../system/routing/uplink.ts';
import type { Machine } from './machine.ts';
import { answersQueries } from './names.ts';

/** Addresses of jump hosts that are remembered: more than one dial tries. */
const MAX_UNBOUND = 256;

export interface Uplinks {
  readonly uplink: Uplink;
  /** undefined: sockets can't be bound here, so what is dialled must not be captured. */
  readonly deviceFor: DialDevice | undefined;
  /**
   * Whether this machine's kernel drops answers from a server whose address is captured, although
   * the socket is bound: they come in by another device than a route leads to (rp_filter).
   */
  readonly filtered: (server: Destination) => boolean;
  /**
   * What was dialled by sockets that are not bound, because it wasn't captured then. A reload must
   * not capture it.
   */
  readonly unbound: () => readonly Prefix[];
}

export interface UplinksParts {
  readonly machine: Pick<Machine, 'routing' | 'sockets' | 'bindsSockets' | 'filtersReversePath'>;
  readonly captured: CapturedPrefixes;
  readonly configuration: Configuration;
  readonly observer: Observer;
}

export function openUplinks({ machine, captured, configuration, observer }: UplinksParts): Uplinks {
  const { routing } = machine;
  const deviceOf: DeviceFinder = ({ host, port, source }) => {
    try {
      return uplinkDevice(routing, { address: host, port, source }, captured.deviceName);
    } catch (error) {
      // Out of descriptors, for example: as without a route, which is tried again.
      observer.log('info', `${host}: the kernel does not say what leads there: ${reasonOf(error)}`);
      return null;
    }
  };
  // Resolvers change with the network, and a cloud's targets are known only when the link is up.
  const mayGrow = answersQueries(configuration);
  const unbound = new Set<string>();
  const deviceFor: DialDevice = ({ host, port, localAddress: source }) => {
    const address = addressToExclude(host);
    if (address === undefined) return undefined;
    if (!mayGrow && !captured.concerns(address)) {
      unbound.delete(address);
      unbound.add(address);
      for (const oldest of [...unbound].slice(0, -MAX_UNBOUND)) unbound.delete(oldest);
      return undefined;
    }
    return deviceOf({ host: address, port, source });
  };
  const binds = machine.bindsSockets();
  if (!binds)
    observer.log(
      'info',
      "sockets can't be bound to devices here (Linux 5.7 or later permits it): the jump host's addresses are left out",
    );
  return {
    uplink: new Uplink(captured, machine.sockets, deviceOf),
    deviceFor: binds ? deviceFor : undefined,
    unbound: () => [...unbound].map(hostPrefix),
    filtered(server) {
      if (family(server.host) !== 4) return false;
      const device = deviceOf(server);
      return typeof device === 'string' && machine.filtersReversePath(device);
    },
  };
}
