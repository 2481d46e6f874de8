/**
 * Bypasses the tunnel's own routes. What must not go through the tunnel uses sockets that are bound
 * to the device that would be used without it: direct connections to captured addresses, queries to
 * this machine's resolvers, and the SSH connection itself.
 */
import { ConnectError, type Connector } from '../flow/connector.ts';
import { family, isZoned } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { DirectConnector, type DirectOptions } from './direct.ts';

/** Whether an address is captured (policy/captured.ts). */
export interface Captured {
  contains(address: string): boolean;
}

/** The functions of the addon that are needed here (native/addon.ts). */
export interface BoundSockets {
  socketOnDevice(family: 4 | 6, device: string): number;
  datagramSocketOnDevice(family: 4 | 6, device: string): number;
}

/** A destination, and the address of this machine that its socket is bound to. */
export interface Departure extends Destination {
  readonly source?: string | undefined;
}

/**
 * The device that would be used without the tunnel's own routes (system/routing/uplink.ts). Null:
 * none leads there. Undefined: the address is one of this machine's, so no route captures it.
 */
export type DeviceFinder = (departure: Departure) => string | null | undefined;

export class Uplink {
  readonly #captured: Captured;
  readonly #native: BoundSockets;
  readonly #deviceOf: DeviceFinder;

  constructor(captured: Captured, native: BoundSockets, deviceOf: DeviceFinder) {
    this.#captured = captured;
    this.#native = native;
    this.#deviceOf = deviceOf;
  }

  /** A connector that bypasses the tunnel. `lookup` as in DirectOptions. */
  connector(lookup?: NonNullable<DirectOptions['lookup']>): Connector {
    return new DirectConnector({
      uplinkFor: (destination) => this.#deviceFor(destination),
      socketOnDevice: (of, device) => this.#native.socketOnDevice(of, device),
      ...(lookup === undefined ? {} : { lookup }),
    });
  }

  /**
   * The descriptor of a UDP socket for one destination. undefined: no route of the tunnel captures
   * it. Throws ConnectError if no route leads there, or the system's error.
   */
  datagramSocket(destination: Destination): number | undefined {
    const { host } = destination;
    const device = this.#deviceFor(destination);
    if (device === undefined) return undefined;
    if (device === null)
      throw new ConnectError('no-network', `${host}: no route except the tunnel's own`);
    return this.#native.datagramSocketOnDevice(family(host), device);
  }

  /** As DeviceFinder. Undefined also if no route of the tunnel captures it. */
  #deviceFor(destination: Destination): string | null | undefined {
    // The zone names the device already, and no route captures such an address.
    if (isZoned(destination.host)) return undefined;
    return this.#captured.contains(destination.host) ? this.#deviceOf(destination) : undefined;
  }
}
