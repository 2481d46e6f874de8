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
 * processor's cache, and sends the acknowledgements that are then due. A frame whose bytes somebody
 * keeps stays where it is, and the next is read elsewhere.
 *
 * At the end new connections are refused, open ones reset, and only then does the device go, with
 * its routes: so the resets still reach the applications. All host state hangs on the device.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { TunnelError } from '../../errors/errors.ts';
import type { Datagram } from '../../flow/datagram.ts';
import { PartStart } from '../../flow/partstart.ts';
import { addressFromNumber, addressNumber } from '../../net/address.ts';
import { formatPrefix, type Prefix, prefixAround, prefixBounds } from '../../net/prefix.ts';
import { PrefixSet } from '../../net/prefixset.ts';
import type { Refusal } from '../../net/refusal.ts';
import type { CounterName } from '../../observe/counters.ts';
import type { Observer } from '../../observe/observer.ts';
import type { Capture, Traffic } from '../capture.ts';
import { namedCounters } from './counters.ts';
import type { PacketDevice } from './device.ts';
import { PacketStack } from './stack.ts';

/** Packets of 64 KiB pass whole. */
export const MTU = 65520;
/**
 * Last octet of the address from which ICMP errors come: not the device's own, from which the
 * kernel would not take them.
 */
const ROUTER_OCTET = 2n;

/** Prefix lengths of the device's own addresses (native/helper/protocol.h). */
const BLOCK_LENGTH = { 4: 24, 6: 64 } as const;

/**
 * What makes the device and the routes, with the privileges that this takes
 * (system/helper/helper.ts).
 */
export interface TunHost {
  create(options: { ipv4: boolean; ipv6: boolean; mtu: number }): Promise<TunDevice>;
  /** The whole set of captured prefixes; the difference to the earlier set is added and removed. */
  setRoutes(prefixes: readonly Prefix[]): Promise<void>;
  /** Resolves with why the device is gone, or with nothing after close(). Never rejects. */
  readonly ended: Promise<TunnelError | undefined>;
  close(): Promise<void>;
}

/** A device that has been made, and that nobody reads yet. Exactly one of open() and discard(). */
export interface TunDevice {
  readonly name: string;
  /** The device's own addresses; the rest of their /24 and /64 is the capture's to use. */
  readonly address4: string | undefined;
  readonly address6: string | undefined;
  /** `counted.lost` counts frames that the device did not take. */
  open(counted: { lost: number }): PacketDevice;
  /** Lets it go: the device vanishes. */
  discard(): void;
}

export interface TunTraffic extends Traffic {
  /** What is captured, until setPrefixes() says otherwise. */
  readonly prefixes: readonly Prefix[];
  /** Routed besides, with `prefixes` at the same time, for good. Default: none. */
  readonly alsoRouted?: readonly Prefix[];
  /**
   * Takes UDP datagrams, each to be answered or not; without it all are answered with "port
   * unreachable".
   */
  readonly onDatagram?: (datagram: Datagram) => void;
  /** Addresses in the device's own blocks to which connections are captured like others. */
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

/** The device has addresses and a listener only of the families that it was made for. */
function requireFamilies(device: TunDevice, prefixes: readonly Prefix[]): void {
  const missing = prefixes.find(
    ({ family }) => (family === 4 ? device.address4 : device.address6) === undefined,
  );
  if (missing === undefined) return;
  throw new TunnelError(
    'capture-family',
    `${device.name} can't capture ${formatPrefix(missing)}: when it was made, no IPv${missing.family} target was left to capture`,
    { hint: 'start the tunnel again' },
  );
}

/** Another address of the device's own block. */
function sibling(own: string | undefined): string | undefined {
  if (own === undefined) return undefined;
  const family = own.includes(':') ? 6 : 4;
  const { first } = prefixBounds(prefixAround(addressNumber(own), family, BLOCK_LENGTH[family]));
  return addressFromNumber(first + ROUTER_OCTET, family);
}

export class TunCapture implements Capture<TunTraffic> {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #host: TunHost;
  readonly #starting = new PartStart();
  readonly #counted = { lost: 0 };
  #device: TunDevice | undefined;
  /** The device's own blocks of addresses. */
  #own = new PrefixSet([]);
  #stack: PacketStack | undefined;
  #alsoRouted: readonly Prefix[] = [];
  /** The routes have been asked for: from here on `setPrefixes` changes them. */
  #routed = false;
  #closing: Promise<void> | undefined;
  #end: (error: TunnelError | undefined) => void = () => {};

  /** The host is the capture's from here on. */
  constructor(host: TunHost, observer: Observer) {
    this.#host = host;
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
   * Once, before `start`: makes the device, with addresses of these families. Nothing is routed
   * into it yet. Rejects as the host does, or with the signal's reason.
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
   * Captures these prefixes instead, also while `start` is under way. What is in both sets is
   * captured throughout. Resolves when it is done; rejects with a TunnelError when it can't be, and
   * then the former ones are captured. Before `start` it only says whether it could be.
   */
  async setPrefixes(prefixes: readonly Prefix[]): Promise<void> {
    if (this.#device !== undefined) requireFamilies(this.#device, prefixes);
    if (this.#routed) await this.#host.setRoutes([...prefixes, ...this.#alsoRouted]);
  }

  /** Sends a datagram to the application that is its destination. */
  sendDatagram(datagram: Datagram): void {
    this.#stack?.sendDatagram(datagram);
  }

  /**
   * Answers a datagram of the application's with an ICMP error; with nothing where `refusal` stands
   * for silence.
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
    // From here on new connections are refused (see #take). The routes stay until the last reset is
    // out: without them a strict reverse-path filter would drop the resets on their way to the
    // applications.
    this.#stack?.reset(reason);
    // What others answer because of it, a query that was waiting, leaves as well.
    await turn();
    this.#stack?.close();
    // What a start waits for fails with this, and then it is over.
    await this.#host.close();
    await started;
    if (this.#stack === undefined) this.#device?.discard();
    this.#end(undefined);
  }

  /** What the endpoint has counted, under the names that counters are shown by. */
  #named(): (readonly [CounterName, number])[] {
    const endpoint = this.#stack === undefined ? [] : namedCounters(this.#stack.counters);
    return [...endpoint, ['tunnel_tcp_frames_lost_total', this.#counted.lost]];
  }

  #open(device: TunDevice, { accept, onDatagram, served }: TunTraffic): PacketStack {
    const { address4, address6 } = device;
    const families = new Set<4 | 6>();
    if (address4 !== undefined) families.add(4);
    if (address6 !== undefined) families.add(6);
    return new PacketStack({
      device: device.open(this.#counted),
      onFlow: (flow) => {
        const { host } = flow.destination;
        if (this.#starting.ended) flow.refuse('refused');
        // Nothing else is in our own block.
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
      router4: sibling(address4),
      router6: sibling(address6),
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
