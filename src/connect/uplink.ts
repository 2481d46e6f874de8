/**
 * The way past the tunnel's own routes: what is captured and yet goes directly leaves by sockets
 * that are bound to the device that would be used without the tunnel.
 */
import { ConnectError, type Connector } from '../flow/connector.ts';
import { addressBytes, family } from '../net/address.ts';
import { DirectConnector, type DirectOptions } from './direct.ts';

/** What is captured, and by which device (policy/captured.ts). */
export interface Captured {
  contains(address: string): boolean;
  readonly deviceName: string | undefined;
}

/** What the addon does for it (native/addon.ts). */
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

  /** Dials past the tunnel. `lookup` as in DirectOptions. */
  connector(lookup?: NonNullable<DirectOptions['lookup']>): Connector {
    return new DirectConnector({
      uplinkFor: (address) => this.#deviceFor(address),
      socketOnDevice: (of, device) => this.#native.socketOnDevice(of, device),
      ...(lookup === undefined ? {} : { lookup }),
    });
  }

  /**
   * A UDP socket for one address, by its descriptor; undefined: no route of the tunnel is in the
   * way. Throws ConnectError when nothing leads there, and what the system says.
   */
  datagramSocket(address: string): number | undefined {
    const device = this.#deviceFor(address);
    if (device === undefined) return undefined;
    if (device === null)
      throw new ConnectError('no-network', `${address}: no route beside the tunnel's own`);
    return this.#native.datagramSocketOnDevice(family(address), device);
  }

  /** null: no device leads there; undefined: no route of the tunnel is in the way. */
  #deviceFor(address: string): string | null | undefined {
    if (!this.#captured.contains(address)) return undefined;
    return this.#native.uplinkFor(addressBytes(address), this.#captured.deviceName ?? '');
  }
}
