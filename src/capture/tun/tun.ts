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
import { closeSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { TunnelError } from '../../errors/errors.ts';
import type { Datagram } from '../../flow/datagram.ts';
import type { FlowRequest } from '../../flow/request.ts';
import { addressFromNumber, addressNumber } from '../../net/address.ts';
import { formatPrefix, type Prefix, prefixAround, prefixBounds } from '../../net/prefix.ts';
import { PrefixSet } from '../../net/prefixset.ts';
import type { Refusal } from '../../net/refusal.ts';
import type { Observer } from '../../observe/observer.ts';
import type { Capture } from '../capture.ts';
import { LinuxTun } from './linuxtun.ts';
import { PacketStack } from './stack.ts';
import type { TcpFlow } from './tcpflow.ts';

/** Packets of 64 KiB pass whole. */
const MTU = 65520;
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

export interface TunDevice {
  readonly fd: number;
  readonly name: string;
  /** The device's own addresses; the rest of their /24 and /64 is the capture's to use. */
  readonly address4: string | undefined;
  readonly address6: string | undefined;
}

export interface TunCaptureOptions {
  readonly host: TunHost;
  readonly prefixes: readonly Prefix[];
  readonly observer: Observer;
  /**
   * Takes UDP datagrams, each to be answered or not; without it all are answered with "port
   * unreachable".
   */
  readonly onDatagram?: (datagram: Datagram) => void;
  /** Addresses in the device's own blocks to which connections are captured like others. */
  readonly served?: ReadonlySet<string>;
  /** Families that the device has in any case; by default those of `prefixes`. */
  readonly families?: ReadonlySet<4 | 6>;
  /**
   * Called when the device is there, before anything is routed. What it returns is routed besides
   * `prefixes`, with them at the same time, and stays so; addresses that it adds to `served` count.
   */
  readonly onDevice?: (device: TunDevice) => readonly Prefix[];
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

export class TunCapture implements Capture {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #host: TunHost;
  #prefixes: readonly Prefix[];
  readonly #onDatagram: ((datagram: Datagram) => void) | undefined;
  readonly #served: ReadonlySet<string>;
  readonly #families: ReadonlySet<4 | 6>;
  readonly #onDevice: ((device: TunDevice) => readonly Prefix[]) | undefined;
  /** What `onDevice` has returned. */
  #further: readonly Prefix[] = [];
  #accept: ((request: FlowRequest) => void) | undefined;
  #stack: PacketStack | undefined;
  readonly #counted = { lost: 0 };
  #device: TunDevice | undefined;
  /** The device's descriptor until the stack owns it. */
  #fd: number | undefined;
  /** The device's own blocks of addresses. */
  #own = new PrefixSet([]);
  /** The routes have been asked for: from here on `setPrefixes` changes them. */
  #routed = false;
  #closing: Promise<void> | undefined;
  #end: (error: TunnelError | undefined) => void = () => {};

  constructor(options: TunCaptureOptions) {
    this.#host = options.host;
    this.#prefixes = options.prefixes;
    this.#onDatagram = options.onDatagram;
    this.#served = options.served ?? new Set();
    this.#families = options.families ?? new Set();
    this.#onDevice = options.onDevice;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /**
   * The device's name once `start` has made it, for messages and for direct dials that must avoid
   * it.
   */
  get deviceName(): string | undefined {
    return this.#device?.name;
  }

  /** What the endpoint has counted (counters.ts), for logs and metrics. */
  counters(): Readonly<Record<string, number>> {
    return { ...this.#stack?.counters, framesLost: this.#counted.lost };
  }

  async start(accept: (request: FlowRequest) => void, signal: AbortSignal): Promise<void> {
    this.#accept = accept;
    try {
      const device = await this.#host.create({
        ipv4: this.#needs(4),
        ipv6: this.#needs(6),
        mtu: MTU,
      });
      this.#device = device;
      this.#fd = device.fd;
      this.#own = ownBlocks(device);
      this.#further = this.#onDevice?.(device) ?? [];
      void this.#host.ended.then((error) => this.#end(error));
      this.#proceed(signal);
      this.#fd = undefined;
      this.#stack = this.#open(device);
      this.#routed = true;
      await this.#host.setRoutes([...this.#prefixes, ...this.#further]);
    } catch (error) {
      // A device that came after close() had begun is nobody's but ours.
      if (this.#closing !== undefined && this.#fd !== undefined) closeSync(this.#fd);
      if (this.#closing !== undefined) this.#fd = undefined;
      await this.close();
      throw error;
    }
  }

  /**
   * Captures these prefixes instead, also while `start` is under way. What is in both sets is
   * captured throughout. Resolves when it is done; rejects with a TunnelError when it can't be, and
   * then the former ones are captured.
   */
  async setPrefixes(prefixes: readonly Prefix[]): Promise<void> {
    if (this.#device !== undefined) requireFamilies(this.#device, prefixes);
    if (this.#routed) await this.#host.setRoutes([...prefixes, ...this.#further]);
    this.#prefixes = prefixes;
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
    // From here on new connections are refused (see #take). The routes stay until the last reset is
    // out: without them a strict reverse-path filter would drop the resets on their way to the
    // applications.
    this.#stack?.reset(new TunnelError('capture-closed', 'the tunnel is stopping'));
    // What others answer because of it, a query that was waiting, leaves as well.
    await turn();
    this.#stack?.close();
    if (this.#stack === undefined && this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    await this.#host.close();
    this.#end(undefined);
  }

  #needs(family: 4 | 6): boolean {
    return this.#families.has(family) || this.#prefixes.some((prefix) => prefix.family === family);
  }

  /** Throws when there is no point in going on with `start`. */
  #proceed(signal: AbortSignal): void {
    signal.throwIfAborted();
    if (this.#closing !== undefined)
      throw new TunnelError('capture-closed', 'the capture has been closed');
  }

  #open({ fd, address4, address6 }: TunDevice): PacketStack {
    const families = new Set<4 | 6>();
    if (address4 !== undefined) families.add(4);
    if (address6 !== undefined) families.add(6);
    const onDatagram = this.#onDatagram;
    return new PacketStack({
      device: new LinuxTun(fd, MTU, this.#counted),
      onFlow: (flow) => this.#take(flow),
      onDatagram:
        onDatagram === undefined
          ? undefined
          : (datagram) => {
              if (this.#closing === undefined) onDatagram(datagram);
            },
      onGone: (errno) => this.#gone(errno),
      families,
      router4: sibling(address4),
      router6: sibling(address6),
    });
  }

  #take(flow: TcpFlow): void {
    const { host } = flow.destination;
    if (this.#closing !== undefined || this.#accept === undefined) flow.refuse('refused');
    else if (this.#own.contains(host) && !this.#served.has(host))
      flow.refuse('unreachable'); // nothing else is in our own block
    else this.#accept(flow);
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
