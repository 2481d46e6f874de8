/**
 * Captures one command in its own network namespace (`tunnel exec`), without privileges.
 *
 *   command in its namespace -> default route -> TUN -> endpoint
 *     TCP  -> as with any TUN (capture/tun/tun.ts)   -> accept()
 *     UDP  -> datagrams.ts, from this process's own network
 *     DNS  -> resolv.conf inside names `resolvers`; queries to them go on to the host's
 *             resolvers, by TCP or UDP, or to the tunnel's own DNS server, which sees them before
 *             datagrams.ts (`takeDatagram`) and accept() do
 *     ICMP -> answered as prohibited by the endpoint
 *
 * The command can reach nothing else: its namespace has only lo and the TUN. The policy decides on
 * each connection and each datagram. Loopback addresses are the namespace's own; the command can't
 * reach the host's.
 *
 * States: as in capture/tun/tun.ts. On close, connections are reset, and the device disappears with
 * its descriptor. Processes that the command leaves behind keep the namespace, but it has no route
 * any more: they get "network unreachable" at once.
 *
 * Limits: those of capture/tun/tun.ts, datagrams.ts and resolv.conf (three resolvers).
 */

import type { Clock } from '../../base/clock.ts';
import type { TunnelError } from '../../errors/errors.ts';
import type { Datagram } from '../../flow/datagram.ts';
import type { Destination } from '../../net/destination.ts';
import type { Refusal } from '../../net/refusal.ts';
import type { Observer } from '../../observe/observer.ts';
import type { DatagramVerdict } from '../../policy/execpolicy.ts';
import type { Capture, Traffic } from '../capture.ts';
import type { PacketTap } from '../tun/device.ts';
import { TunCapture, type TunDevice, type TunHost } from '../tun/tun.ts';
import { UdpRelay } from './datagrams.ts';

/**
 * As in capture/tun/tun.ts. Packets that the kernel has merged (GSO) pass whole, whatever the MTU.
 */
export const NAMESPACE_MTU = 65520;
/**
 * In 198.18.0.0/15 and 2001:2::/48 (RFC 2544, RFC 5180), which no target may contain. Every
 * namespace uses the same addresses.
 */
const ADDRESS4 = '198.18.0.1';
const ADDRESS6 = '2001:2::1';
/** The last octet of the first resolver's address. */
const FIRST_RESOLVER = 53;

/** The addresses of a namespace. */
export interface NamespaceAddresses {
  /** The device's own, in a /24 and a /64. */
  readonly address4: string;
  readonly address6: string;
  /** The resolvers in the namespace's resolv.conf: as many as the host has. */
  readonly resolvers: readonly string[];
}

/** The addresses of a namespace. `resolvers`: how many the host has. */
export function namespaceAddresses(resolvers: number): NamespaceAddresses {
  return {
    address4: ADDRESS4,
    address6: ADDRESS6,
    resolvers: Array.from({ length: resolvers }, (_, i) => `198.18.0.${FIRST_RESOLVER + i}`),
  };
}

export interface NamespaceCaptureOptions {
  /** The device that the launcher made in the namespace. The capture owns it from now on. */
  readonly device: TunDevice;
  /** The resolvers in the namespace's resolv.conf. */
  readonly resolvers: readonly string[];
  readonly observer: Observer;
  /** Default: systemClock. */
  readonly clock?: Clock;
}

export interface NamespaceTraffic extends Traffic {
  /** Where a datagram goes. */
  readonly decideDatagram: (destination: Destination) => DatagramVerdict;
  /**
   * Called before `decideDatagram`. Returns true if it takes the datagram and answers it itself.
   */
  readonly takeDatagram: (datagram: Datagram) => boolean;
  /** Gets a record of each frame. */
  readonly tap?: PacketTap | undefined;
}

/** A TunHost for a device that already exists and has its routes. */
function hostOf(device: TunDevice): TunHost {
  let end: (error: undefined) => void = () => {};
  let taken = false;
  return {
    ended: new Promise((resolve) => {
      end = resolve;
    }),
    create() {
      taken = true;
      return Promise.resolve(device);
    },
    setRoutes: () => Promise.resolve(), // the launcher has set the default routes
    setUnreachable: () => Promise.resolve(),
    close() {
      // A capture that never started has not taken over the device.
      if (!taken) device.discard();
      taken = true;
      end(undefined);
      return Promise.resolve();
    },
  };
}

export class NamespaceCapture implements Capture<NamespaceTraffic> {
  readonly ended: Promise<TunnelError | undefined>;
  readonly #options: NamespaceCaptureOptions;
  readonly #tun: TunCapture;
  #udp: UdpRelay | undefined;

  constructor(options: NamespaceCaptureOptions) {
    this.#options = options;
    this.#tun = new TunCapture(hostOf(options.device), options.observer, options.clock);
    this.ended = this.#tun.ended;
  }

  async start(traffic: NamespaceTraffic, signal: AbortSignal): Promise<void> {
    const { resolvers, observer } = this.#options;
    await this.#tun.prepare(new Set(), signal);
    const udp = new UdpRelay({
      decide: traffic.decideDatagram,
      send: (datagram) => this.#tun.sendDatagram(datagram),
      refuse: (datagram, refusal) => this.#tun.refuseDatagram(datagram, refusal),
      observer,
    });
    this.#udp = udp;
    await this.#tun.start(
      {
        accept: traffic.accept,
        prefixes: [],
        onDatagram: (datagram) => {
          if (!traffic.takeDatagram(datagram)) udp.accept(datagram);
        },
        served: new Set(resolvers),
        tap: traffic.tap,
      },
      signal,
    );
  }

  sendDatagram(datagram: Datagram): void {
    this.#tun.sendDatagram(datagram);
  }

  refuseDatagram(datagram: Datagram, refusal: Refusal): void {
    this.#tun.refuseDatagram(datagram, refusal);
  }

  async close(): Promise<void> {
    await this.#tun.close();
    this.#udp?.close();
  }
}
