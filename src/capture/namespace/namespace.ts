/**
 * Capture of one command in a network namespace of its own (`tunnel exec`), without privileges.
 *
 *   command in its namespace -> default route -> TUN -> endpoint
 *     TCP  -> as with any TUN (capture/tun/tun.ts)   -> accept()
 *     UDP  -> datagrams.ts, from this process's own network
 *     DNS  -> resolv.conf inside names RESOLVERS; what is sent to them goes on to the host's
 *             resolvers, by TCP or UDP, or to the tunnel's own DNS server, which takes it before
 *             datagrams.ts (`takeDatagram`) and accept() do
 *     ICMP -> answered as prohibited by the endpoint
 *
 * The command can reach nothing else: its namespace has lo and the TUN. What it sends is decided by
 * the policy, connection by connection; loopback addresses are its own, the host's are out of its
 * sight.
 *
 * States: as capture/tun/tun.ts. At the end connections are reset and the device goes with its
 * descriptor; processes that the command has left behind keep the namespace, in which no route is
 * left: "network unreachable" at once.
 *
 * Limits: those of capture/tun/tun.ts, datagrams.ts and of resolv.conf (three resolvers).
 */
import type { TunnelError } from '../../errors/errors.ts';
import type { Datagram } from '../../flow/datagram.ts';
import type { Destination } from '../../net/destination.ts';
import type { Refusal } from '../../net/refusal.ts';
import type { Observer } from '../../observe/observer.ts';
import type { DatagramVerdict } from '../../policy/execpolicy.ts';
import type { Capture, Traffic } from '../capture.ts';
import { TunCapture, type TunDevice, type TunHost } from '../tun/tun.ts';
import { UdpRelay } from './datagrams.ts';

/** As capture/tun/tun.ts: super-packets pass whole whatever the MTU. */
export const NAMESPACE_MTU = 65520;
/**
 * In 198.18.0.0/15 and 2001:2::/48 (RFC 2544, RFC 5180), which no target may hold. Each namespace
 * has them to itself.
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
  /** What resolv.conf inside names: as many as the host has resolvers. */
  readonly resolvers: readonly string[];
}

/** The addresses of a namespace for a host with so many resolvers. */
export function namespaceAddresses(resolvers: number): NamespaceAddresses {
  return {
    address4: ADDRESS4,
    address6: ADDRESS6,
    resolvers: Array.from({ length: resolvers }, (_, i) => `198.18.0.${FIRST_RESOLVER + i}`),
  };
}

export interface NamespaceCaptureOptions {
  /** What the launcher has made in the namespace. It is the capture's from here on. */
  readonly device: TunDevice;
  /** The resolvers of resolv.conf inside. */
  readonly resolvers: readonly string[];
  readonly observer: Observer;
}

export interface NamespaceTraffic extends Traffic {
  /** Where a datagram goes. */
  readonly decideDatagram: (destination: Destination) => DatagramVerdict;
  /** Answers a datagram itself and says so; asked before `decideDatagram`. */
  readonly takeDatagram: (datagram: Datagram) => boolean;
}

/** All that TunCapture asks of who made the device: here it is made already, and has its routes. */
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
    close() {
      // A capture that never started has not taken it over.
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
    this.#tun = new TunCapture(hostOf(options.device), options.observer);
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
