/**
 * Puts the parts of this folder together for one tunnel: what answers queries, what the device has
 * to be routed for it, and what turns virtual addresses back.
 *
 *   names   = new NameService({...})               once the device has its addresses
 *   routes += names.prefixes                 virtual addresses lead into the device
 *   queries = new CapturedQueries({ server: names.server, own: names.addresses, ... })
 *   accept  = names.translate(flows.accept)  connections to virtual addresses become connections to
 *                                            names
 *
 * Both resolvers have a cache of their own, so that no answer of one is ever served for the other's
 * names. What those behind the jump host say is kept by address as well (dns/upstream/known.ts),
 * and where it is wanted, apart from that, what this machine's own say.
 */
import type { Socket } from 'node:dgram';
import { TunnelError } from '../../errors/errors.ts';
import type { FlowRequest } from '../../flow/request.ts';
import { addressBytes, addressFromBytes } from '../../net/address.ts';
import type { Destination } from '../../net/destination.ts';
import type { Prefix } from '../../net/prefix.ts';
import type { Observer } from '../../observe/observer.ts';
import { createNaming, type Naming, type NamingOptions } from '../naming.ts';
import { lookupAddresses } from '../upstream/addresses.ts';
import { CachingResolver } from '../upstream/cache.ts';
import { DatagramUpstream } from '../upstream/datagram.ts';
import { type NameBook, RecordingResolver } from '../upstream/known.ts';
import type { Resolver } from '../upstream/resolver.ts';
import { StreamUpstream, type StreamUpstreamOptions } from '../upstream/stream.ts';
import { DnsServer } from './server.ts';
import { translateRequests } from './translate.ts';
import { blockPrefixes, MAX_TUNNELS, VirtualAddresses, virtualBlocks } from './virtual.ts';

/**
 * Last octet of the DNS server's addresses in the device's own blocks. The capture's own are 1-5
 * and 254.
 */
const DNS_OCTET = 53;

export interface DeviceAddresses {
  readonly address4: string | undefined;
  readonly address6: string | undefined;
}

/** A transport's `connect` is one. */
type Connect = StreamUpstreamOptions['connect'];

export interface NameServiceOptions {
  readonly naming: NamingOptions;
  readonly device: DeviceAddresses;
  /** Resolvers that are asked through the tunnel; empty: none. */
  readonly servers: readonly Destination[];
  readonly connect: Connect;
  /** This machine's own resolvers, for the other names; empty: these are refused. */
  readonly local: readonly Destination[];
  /** Dials past the tunnel. */
  readonly connectDirectly: Connect;
  /**
   * UDP sockets that send past the tunnel. By default the routes decide: not enough where addresses
   * in `local` are routed into the device, since queries would then come back here.
   */
  readonly socketFor?: (server: Destination) => Socket;
  /** What resolvers behind the jump host answer is written into it. */
  readonly book: NameBook;
  /** So is what this machine's own resolvers answer. Default: false. */
  readonly keepsLocalNames?: boolean;
  readonly observer: Observer;
}

export class NameService {
  readonly server: DnsServer;
  readonly virtual: VirtualAddresses | undefined;
  /** To be routed into the device. */
  readonly prefixes: readonly Prefix[];
  /** Where the server is to answer, in the device's own blocks; canonical. */
  readonly addresses: ReadonlySet<string>;
  readonly #options: NameServiceOptions;
  readonly #route: Naming;
  /** Asks behind the jump host. */
  readonly #tunnel: Resolver | undefined;
  /** Asks this machine's own. */
  #local: Resolver | undefined;
  #closed = false;

  /** Throws TunnelError `dns-no-block` when MAX_TUNNELS tunnels have taken the blocks for names. */
  constructor(options: NameServiceOptions) {
    const { naming, device, servers, connect, local, book, observer } = options;
    const virtual = naming.nameTargets.length === 0 ? undefined : createVirtual(device, observer);
    this.#options = options;
    this.#route = createNaming({ ...naming, book });
    this.#tunnel =
      servers.length === 0
        ? undefined
        : new CachingResolver({
            upstream: new RecordingResolver(
              new StreamUpstream({ servers, connect, observer }),
              book.behind,
            ),
            observer,
          });
    this.#local = this.#localResolver(local);
    this.virtual = virtual?.addresses;
    this.prefixes = virtual?.prefixes ?? [];
    this.addresses = ownDnsAddresses(device);
    this.server = new DnsServer({
      naming: this.#route,
      virtual: this.virtual,
      tunnel: this.#tunnel,
      local: this.#local,
      observer,
    });
  }

  /** Wraps what takes requests, for connections to virtual addresses. */
  translate(accept: (request: FlowRequest) => void): (request: FlowRequest) => void {
    const { virtual } = this;
    return virtual === undefined
      ? accept
      : translateRequests(virtual, this.#options.observer, accept);
  }

  /**
   * A canonical name's addresses, as far as they are known or asked for behind the jump host; none
   * where nobody there is known to ask. Undefined: the name is this machine's to resolve. Rejects
   * with TunnelError `dns-*`.
   */
  async lookup(name: string): Promise<readonly string[] | undefined> {
    const { kind } = this.#route(name);
    if (kind === 'nothing' || kind === 'stand-in') return [];
    return kind === 'local' || kind === 'loopback' ? undefined : lookupBy(name, this.#tunnel);
  }

  /**
   * As `lookup`, for a connection past the tunnel: a name target that isn't answered behind the
   * jump host is asked for here.
   */
  async lookupPastTunnel(name: string): Promise<readonly string[] | undefined> {
    if (this.#route(name).kind !== 'virtual') return this.lookup(name);
    const resolver = this.#tunnel ?? this.#local;
    return resolver === undefined ? undefined : lookupBy(name, resolver);
  }

  /**
   * This machine's own resolvers are others from now on; what waits for the former is answered
   * SERVFAIL. Nothing, once closed.
   */
  setLocal(servers: readonly Destination[]): void {
    if (this.#closed) return;
    this.#local?.close();
    this.#local = this.#localResolver(servers);
    this.server.setLocal(this.#local);
  }

  /** Rejects what waits for a resolver; queries are answered SERVFAIL from now on. */
  close(): void {
    this.#closed = true;
    this.server.close();
    this.#tunnel?.close();
    this.#local?.close();
  }

  #localResolver(servers: readonly Destination[]): Resolver | undefined {
    if (servers.length === 0) return undefined;
    const { connectDirectly, socketFor, book, keepsLocalNames = false, observer } = this.#options;
    const upstream = new DatagramUpstream({
      servers,
      overStream: (server) =>
        new StreamUpstream({ servers: [server], connect: connectDirectly, observer }),
      observer,
      ...(socketFor === undefined ? {} : { socketFor }),
    });
    return new CachingResolver({
      upstream: keepsLocalNames ? new RecordingResolver(upstream, book.here) : upstream,
      observer,
    });
  }
}

async function lookupBy(name: string, resolver: Resolver | undefined): Promise<readonly string[]> {
  return resolver === undefined ? [] : lookupAddresses(resolver, name);
}

/** The addresses of the DNS server of the tunnel whose device has these. */
function ownDnsAddresses({ address4, address6 }: DeviceAddresses): Set<string> {
  const addresses = [address4, address6].filter((address) => address !== undefined);
  return new Set(
    addresses.map((address) => {
      const octets = addressBytes(address);
      octets[octets.length - 1] = DNS_OCTET;
      return addressFromBytes(octets);
    }),
  );
}

function createVirtual(
  device: DeviceAddresses,
  observer: Observer,
): { addresses: VirtualAddresses; prefixes: readonly Prefix[] } {
  const blocks = virtualBlocks(device);
  if (blocks === undefined) {
    throw new TunnelError(
      'dns-no-block',
      `no addresses are left for names: ${MAX_TUNNELS} tunnels with names can run at a time`,
      { hint: 'end a tunnel that is not needed, or give it all targets of another one as well' },
    );
  }
  return { addresses: new VirtualAddresses({ blocks, observer }), prefixes: blockPrefixes(blocks) };
}
