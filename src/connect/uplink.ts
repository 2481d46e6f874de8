/**
 * The way past the tunnel's own routes: what is captured and yet goes directly leaves by sockets
 * that are bound to the device that would be used without the tunnel.
 */

import { ConnectError, type Connector } from '../flow/connector.ts';
import { addon } from '../native/addon.ts';
import { addressBytes, family } from '../net/address.ts';
import { PrefixSet } from '../net/prefixset.ts';
import type { CapturedPrefixes } from '../policy/captured.ts';
import { DirectConnector, type DirectOptions } from './direct.ts';

export interface Beside {
  readonly direct: Connector;
  /**
   * A UDP socket for one address; undefined: no route of the tunnel is in the way. Throws
   * ConnectError when nothing leads there, and what the system says.
   */
  datagramSocket(address: string): number | undefined;
}

/** `device`: the tunnel's own, once it is there. */
export function waysBeside(
  device: () => string,
  captured: CapturedPrefixes,
  lookup: NonNullable<DirectOptions['lookup']>,
): Beside {
  const native = addon();
  let { current } = captured;
  let set = new PrefixSet(current);
  const isCaptured = (address: string): boolean => {
    if (current !== captured.current) {
      current = captured.current;
      set = new PrefixSet(current);
    }
    return set.contains(address);
  };
  const uplinkFor = (address: string) =>
    isCaptured(address) ? native.uplinkFor(addressBytes(address), device()) : undefined;
  return {
    direct: new DirectConnector({
      uplinkFor,
      socketOnDevice: (of, uplink) => native.socketOnDevice(of, uplink),
      lookup,
    }),
    datagramSocket(address) {
      const uplink = uplinkFor(address);
      if (uplink === null)
        throw new ConnectError('no-network', `${address}: no route beside the tunnel's own`);
      return uplink === undefined
        ? undefined
        : native.datagramSocketOnDevice(family(address), uplink);
    },
  };
}
