/**
 * Capture with a TUN device (Linux): the program itself is the far side of every connection that is
 * routed into it.
 *
 *   application's SYN -> route -> TUN -> endpoint.ts holds it -> FlowRequest -> accept()
 *   -> request.open()             SYN-ACK; from here on bytes go between the application's kernel
 *                                 and the far side's channel
 *   or request.refuse(reason)     RST, ICMP or silence
 *
 * A turn of the event loop reads up to BATCH frames, hands each to the endpoint while it is in the
 * processor's cache, and then sends the pending acknowledgements. If somebody keeps a frame's
 * bytes, the frame stays where it is and the next one is read into other memory.
 *
 * On close, new connections are refused and open ones are reset. The device and its routes go last,
 * so the resets still reach the applications. All host state disappears with the device.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { type Clock, systemClock } from '../../base/clock.ts';
import { PartStart } from '../../base/partstart.ts';
import { TunnelError } from '../../errors/errors.ts';
import type { Datagram } from '../../flow/datagram.ts';
import { addressFromNumber, addressNumber } from '../../net/address.ts';
import {
  formatPrefix,
  type Prefix,
  prefixAround,
  prefixBounds,
  type RoutedPrefix,
} from '../../net/prefix.ts';
import { PrefixSet } from '../../net/prefixset.ts';
import type { Refusal } from '../../net/refusal.ts';
import type { CounterName } from '../../observe/counters.ts';
import type { Observer } from '../../observe/observer.ts';
import type { Capture, Traffic } from '../capture.ts';
import { namedCounters } from './counters.ts';
import type { PacketDevice, PacketTap } from './device.ts';
import { PacketStack } from './stack.ts';

/** Large enough for packets of nearly 64 KiB. */
export const MTU = 65520;
/**
 * Last octet of the address that ICMP errors come from. It can't be the device's own address: the
 * kernel would not accept packets from there.
 */
const ROUTER_OCTET = 2n;

/** Prefix lengths of the device's own addresses (native/helper/protocol.h). */
const BLOCK_LENGTH = { 4: 24, 6: 64 } as const;

/** Makes the device and the routes, with the necessary privileges (system/helper/helper.ts). */
export interface TunHost {
  create(options: { ipv4: boolean; ipv6: boolean; mtu: number }): Promise<TunDevice>;
  /**
   * Takes the whole set of captured prefixes. Adds and removes only what differs from the set
   * before.
   */
  setRoutes(prefixes: readonly RoutedPrefix[]): Promise<void>;
  /** What stays unreachable when the device is gone (system/helper/helper.ts). */
  setUnreachable(prefixes: readonly RoutedPrefix[]): Promise<void>;
  /**
   * Resolves with the reason why the device is gone, or with undefined after close(). Never
   * rejects.
   */
  readonly ended: Promise<TunnelError | undefined>;
  close(): Promise<void>;
}

/** A device that exists but isn't read yet. Call exactly one of open() and discard(). */
export interface TunDevice {
  readonly name: string;
  /** The device's own addresses. The capture may use the rest of their /24 and /64. */
  readonly address4: string | undefined;
  readonly address6: string | undefined;
  /** `counted.lost` counts frames that the device did not take. `tap` gets records of frames. */
  open(counted: { lost: number }, tap?: PacketTap): PacketDevice;
  /** Closes the device, which removes it. */
  discard(): void;
}

export interface TunTraffic extends Traffic {
  /** What is captured until setPrefixes() changes it. */
  readonly prefixes: readonly RoutedPrefix[];
  /** Also routed, from the same moment as `prefixes`, until close(). Default: none. */
  readonly alsoRouted?: readonly RoutedPrefix[];
  /**
   * Takes UDP datagrams and may answer each of them. Without it, all are answered with "port
   * unreachable".
   */
  readonly onDatagram?: (datagram: Datagram) => void;
  /** Gets a record of each frame. */
  readonly tap?: PacketTap | undefined;
  /** Addresses in the device's own blocks that are captured like any others. */
  readonly served?: ReadonlySet<string>;
}

function ownBlocks({ address4, address6 }: TunDevice): PrefixSet {
  const blocks: Prefix[] = [];
  if (address4 !== undefined)
    blocks.push(prefixAround(addressNumber(address4), 4, BLOCK_LENGTH[4]));
  if (address6 !== undefined)
    blocks.push(prefixAround(addressNumber(address6), 6, BLOCK_LENGTH[6]));
  return new PrefixSet(blocks);
}

/** Throws if the device was made without addresses of a family that `prefixes` need. */
function requireFamilies(device: TunDevice, prefixes: readonly Prefix[]): void {
  const missing = prefixes.find(
    ({ family }) => (family === 4 ? device.address4 : device.address6) === undefined,
  );
  if (missing === undefined) return;
  throw new TunnelError(
    'capture-family',
    `${device.name} can't capture ${formatPrefix(missing)}: when it was made, there was no IPv${missing.family} target to capture`,
    { hint: 'start the tunnel again' },
  );
}

/** The address in the device's own block that ICMP errors come from. */
function routerAddress(own: string | undefined): string | undefined {
  if (own === undefined) return undefined;
  const family = own.includes(':') ? 6 : 4;
  const { first } = prefixBounds(prefixAround(addressNumber(own), family, BLOCK_LENGTH[family]));
  return addressFromNumber(first + ROUTER_OCTET, family);
}

export class TunCapture implements Capture<TunTraffic> {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #host: TunHost;
  readonly #clock: Clock;
  readonly #starting = new PartStart();
  readonly #counted = { lost: 0 };
  #device: TunDevice | undefined;
  /** The device's own blocks of addresses. */
  #own = new PrefixSet([]);
  #stack: PacketStack | undefined;
  #alsoRouted: readonly RoutedPrefix[] = [];
  /** The routes have been requested, so `setPrefixes` changes them from now on. */
  #routed = false;
  #closing: Promise<void> | undefined;
  #end: (error: TunnelError | undefined) => void = () => {};

  /** The capture owns `host` from now on. */
  constructor(host: TunHost, observer: Observer, clock: Clock = systemClock) {
    this.#host = host;
    this.#clock = clock;
    observer.addCounters?.(() => this.#named());
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** The device's name, once it is made. */
  get deviceName(): string | undefined {
    return this.#device?.name;
  }

  /**
   * Called once, before `start`. Makes the device, with addresses of these families, but no routes.
   * Rejects as the host does, or with the signal's reason.
   */
  prepare(families: ReadonlySet<4 | 6>, outer: AbortSignal): Promise<TunDevice> {
    return this.#starting.run(outer, async (signal) => {
      const device = await this.#host.create({
        ipv4: families.has(4),
        ipv6: families.has(6),
        mtu: MTU,
      });
      this.#device = device;
      this.#own = ownBlocks(device);
      void this.#host.ended.then((error) => this.#end(error));
      signal.throwIfAborted();
      return device;
    });
  }

  start(traffic: TunTraffic, outer: AbortSignal): Promise<void> {
    return this.#starting.run(outer, async (signal) => {
      const device = this.#device;
      if (device === undefined) throw new TypeError('there is no device before prepare()');
      requireFamilies(device, traffic.prefixes);
      this.#stack = this.#open(device, traffic);
      this.#alsoRouted = traffic.alsoRouted ?? [];
      this.#routed = true;
      await this.#host.setRoutes([...traffic.prefixes, ...this.#alsoRouted]);
      signal.throwIfAborted();
    });
  }

  /**
   * Captures these prefixes instead. May be called while `start` is under way. Whatever is in both
   * sets stays captured throughout. Rejects with a TunnelError if that isn't possible, and then the
   * earlier set stays captured. Before `start` it only checks whether it would be possible.
   */
  async setPrefixes(prefixes: readonly RoutedPrefix[]): Promise<void> {
    if (this.#device !== undefined) requireFamilies(this.#device, prefixes);
    if (this.#routed) await this.#host.setRoutes([...prefixes, ...this.#alsoRouted]);
  }

  /** Canonical addresses that applications have connections to, or have just had. */
  destinations(): ReadonlySet<string> {
    return this.#stack?.destinations() ?? new Set();
  }

  /** Sends a datagram to the application at its destination. */
  sendDatagram(datagram: Datagram): void {
    this.#stack?.sendDatagram(datagram);
  }

  /**
   * Answers an application's datagram with an ICMP error, or not at all if `refusal` means silence.
   */
  refuseDatagram(datagram: Datagram, refusal: Refusal): void {
    this.#stack?.refuseDatagram(datagram, refusal);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const reason = new TunnelError('capture-closed', 'the tunnel is stopping');
    const started = this.#starting.end(reason);
    // From now on new connections are refused (see #open). The routes stay until the last reset is
    // out: without them a strict reverse-path filter would drop the resets on their way to the
    // applications.
    this.#stack?.reset(reason);
    // The resets may lead others to answer, for example a waiting query. Let that leave as well.
    await turn();
    this.#stack?.close();
    // This makes whatever a pending start waits for fail, so the start ends.
    await this.#host.close();
    await started;
    if (this.#stack === undefined) this.#device?.discard();
    this.#end(undefined);
  }

  /** The endpoint's counters, under the names they are shown by. */
  #named(): (readonly [CounterName, number])[] {
    const endpoint = this.#stack === undefined ? [] : namedCounters(this.#stack.counters);
    return [...endpoint, ['tunnel_tcp_frames_lost_total', this.#counted.lost]];
  }

  #open(device: TunDevice, { accept, onDatagram, served, tap }: TunTraffic): PacketStack {
    const { address4, address6 } = device;
    const families = new Set<4 | 6>();
    if (address4 !== undefined) families.add(4);
    if (address6 !== undefined) families.add(6);
    return new PacketStack({
      device: device.open(this.#counted, tap),
      onFlow: (flow) => {
        const { host } = flow.destination;
        if (this.#starting.ended) flow.refuse('refused');
        // There is nothing else in our own block.
        else if (this.#own.contains(host) && served?.has(host) !== true) flow.refuse('unreachable');
        else accept(flow);
      },
      onDatagram:
        onDatagram === undefined
          ? undefined
          : (datagram) => {
              if (!this.#starting.ended) onDatagram(datagram);
            },
      onGone: (errno) => this.#gone(errno),
      families,
      clock: this.#clock,
      router4: routerAddress(address4),
      router6: routerAddress(address6),
    });
  }

  #gone(errno: number): void {
    const device = this.deviceName ?? '';
    this.#end(
      new TunnelError(
        'capture-device-lost',
        `the TUN device ${device} was taken away (errno ${errno})`,
        {
          hint: 'another program or administrator removed it; start the tunnel again',
        },
      ),
    );
  }
}
