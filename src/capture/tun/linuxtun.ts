/** A Linux TUN device with virtio headers, on Node's own event loop (native/addon_device.c). */
import { closeSync } from 'node:fs';
import { addon, type DeviceHandle } from '../../native/addon.ts';
import { HEADER_BYTES, type PacketDevice, type PacketTap } from './device.ts';
import { MTU, type TunDevice, type TunHost } from './tun.ts';

export class LinuxTun implements PacketDevice {
  readonly mtu: number;
  readonly header = Buffer.allocUnsafeSlow(HEADER_BYTES);
  readonly #native = addon();
  readonly #handle: DeviceHandle;
  readonly #counted: { lost: number };
  #onReadable: (errno: number) => void = () => {};
  readonly #tap: PacketTap | undefined;
  #gone = false;
  #closed = false;

  /**
   * Owns `fd` from now on, and closes it if this throws. `counted.lost` counts frames that the
   * kernel did not take. `tap` gets records of all frames.
   */
  constructor(fd: number, mtu: number, counted: { lost: number }, tap?: PacketTap) {
    this.mtu = mtu;
    this.#counted = counted;
    this.#handle = this.#native.deviceOpen(fd, this.header, (errno) => this.#readable(errno));
    this.#tap = tap;
    if (tap === undefined) return;
    const native = this.#native;
    const memory = tap.attach((next) => native.deviceTapSwap(this.#handle, next));
    native.deviceTap(this.#handle, memory, tap.whole, () => tap.full());
  }

  start(onReadable: (errno: number) => void): void {
    this.#onReadable = onReadable;
  }

  read(into: Buffer): number {
    const length = this.#native.deviceRead(this.#handle, into);
    if (length >= 0) return length;
    this.#readable(-length);
    return 0;
  }

  write(headerLength: number, a?: Buffer, b?: Buffer, c?: Buffer, d?: Buffer): void {
    const native = this.#native;
    const handle = this.#handle;
    let errno: number;
    if (a === undefined) errno = native.deviceWrite(handle, headerLength);
    else if (b === undefined) errno = native.deviceWrite(handle, headerLength, a);
    else if (c === undefined) errno = native.deviceWrite(handle, headerLength, a, b);
    else if (d === undefined) errno = native.deviceWrite(handle, headerLength, a, b, c);
    else errno = native.deviceWrite(handle, headerLength, a, b, c, d);
    if (errno !== 0) this.#counted.lost++;
  }

  close(): void {
    if (!this.#closed) this.#tap?.detach();
    this.#closed = true;
    this.#gone = true;
    this.#native.deviceClose(this.#handle);
  }

  #readable(errno: number): void {
    if (this.#gone) return;
    if (errno !== 0) this.#gone = true;
    this.#onReadable(errno);
  }
}

/**
 * A TUN by its file descriptor. It is non-blocking, and the only one: the device exists as long as
 * it is open.
 */
export interface TunDescriptor extends Pick<TunDevice, 'name' | 'address4' | 'address6'> {
  readonly fd: number;
}

/** Makes a TUN and hands over its descriptor: the helper. */
export interface TunMaker extends Omit<TunHost, 'create'> {
  create(...request: Parameters<TunHost['create']>): Promise<TunDescriptor>;
}

export function linuxTunDevice({ fd, name, address4, address6 }: TunDescriptor): TunDevice {
  return {
    name,
    address4,
    address6,
    open: (counted, tap) => new LinuxTun(fd, MTU, counted, tap),
    discard: () => closeSync(fd),
  };
}

/** A host whose devices are Linux TUNs. */
export function linuxTunHost(maker: TunMaker): TunHost {
  return {
    create: async (request) => linuxTunDevice(await maker.create(request)),
    setRoutes: (prefixes) => maker.setRoutes(prefixes),
    setUnreachable: (prefixes) => maker.setUnreachable(prefixes),
    ended: maker.ended,
    close: () => maker.close(),
  };
}
