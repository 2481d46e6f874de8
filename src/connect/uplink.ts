/**
 * Bypasses the tunnel's own routes. Direct connections to captured addresses use sockets that are
 * bound to the device that would be used without the tunnel.
 */
import { ConnectError, type Connector } from '../flow/connector.ts';
import { addressBytes, family } from '../net/address.ts';
import { DirectConnector, type DirectOptions } from './direct.ts';

/** The captured addresses, and the device that captures them (policy/captured.ts). */
export interface Captured {
  contains(address: string): boolean;
  readonly deviceName: string | undefined;
}

/** The functions of the addon that are needed here (native/addon.ts). */
export interface BoundSockets {
  uplinkFor(address: Uint8Array, exclude: string): string | null;
  socketOnDevice(family: 4 | 6, device: string): number;
  datagramSocketOnDevice(family: 4 | 6, device: string): number;
}

export class Uplink {
  readonly #captured: Captured;
  readonly #native: BoundSockets;

  constructor(captured: Captured, native: BoundSockets) {
    this.#captured = captured;
    this.#native = native;
  }

  /** A connector that bypasses the tunnel. `lookup` as in DirectOptions. */
  connector(lookup?: NonNullable<DirectOptions['lookup']>): Connector {
    return new DirectConnector({
      uplinkFor: (address) => this.#deviceFor(address),
      socketOnDevice: (of, device) => this.#native.socketOnDevice(of, device),
      ...(lookup === undefined ? {} : { lookup }),
    });
  }

  /**
   * The descriptor of a UDP socket for one address. undefined: no route of the tunnel captures it.
   * Throws ConnectError if no route leads there, or the system's error.
   */
  datagramSocket(address: string): number | undefined {
    const device = this.#deviceFor(address);
    if (device === undefined) return undefined;
    if (device === null)
      throw new ConnectError('no-network', `${address}: no route except the tunnel's own`);
    return this.#native.datagramSocketOnDevice(family(address), device);
  }

  /** null: no device leads there. undefined: no route of the tunnel captures it. */
  #deviceFor(address: string): string | null | undefined {
    if (!this.#captured.contains(address)) return undefined;
    return this.#native.uplinkFor(addressBytes(address), this.#captured.deviceName ?? '');
  }
}
