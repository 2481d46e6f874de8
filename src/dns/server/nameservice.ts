/**
 * Puts the parts of this folder together for one tunnel: the server that answers queries, the
 * prefixes that must be routed to the device, and the translation of virtual addresses back to
 * names.
 *
 *   names   = new NameService({...})         once the device has its addresses
 *   routes += names.prefixes                 virtual addresses lead into the device
 *   queries = new CapturedQueries({ server: names.server, own: names.addresses, ... })
 *   accept  = names.translate(flows.accept)  connections to virtual addresses become connections to
 *                                            names
 *
 * Each of the two resolvers has its own cache, so an answer of one is never served for a name of
 * the other. Answers from behind the jump host are also recorded by address
 * (dns/upstream/known.ts). So are the answers of this machine's own resolvers, if `keepsLocalNames`
 * is set, but apart from the others.
 */
import type { Socket } from 'node:dgram';
import { TunnelError } from '../../errors/errors.ts';
import type { FlowRequest } from '../../flow/request.ts';
import { addressBytes, addressFromBytes, addressNumber } from '../../net/address.ts';
import type { Destination } from '../../net/destination.ts';
import { type Prefix, prefixAround } from '../../net/prefix.ts';
import { OWN_RANGES } from '../../net/special.ts';
import type { Observer } from '../../observe/observer.ts';
import { type Claims, claimsOf, UNCLAIMED } from '../claims.ts';
import { createNaming, type NameRoute, type Naming, type NamingOptions } from '../naming.ts';
import { lookupAddresses } from '../upstream/addresses.ts';
import { CachingResolver } from '../upstream/cache.ts';
import { DatagramUpstream } from '../upstream/datagram.ts';
import { type NameBook, RecordingResolver } from '../upstream/known.ts';
import { RebindingGuard, RebindingRules } from '../upstream/rebinding.ts';
import type { Resolver } from '../upstream/resolver.ts';
import { StreamUpstream, type StreamUpstreamOptions } from '../upstream/stream.ts';
import { claimStrings, type Neighbours } from './neighbours.ts';
import { DnsServer, type OtherTunnels, type UserOf } from './server.ts';
import { translateRequests } from './translate.ts';
import { blockPrefixes, MAX_TUNNELS, VirtualAddresses, virtualBlocks } from './virtual.ts';

/**
 * Last octet of the DNS server's addresses in the device's own blocks. The capture uses 1-5 and
 * 254.
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
  /** The resolvers behind the jump host. Undefined: nobody there is asked. */
  readonly behind: Resolver | undefined;
  /** This machine's own resolvers, for all other names. Empty: those names are refused. */
  readonly local: readonly Destination[];
  /** Dials past the tunnel. */
  readonly connectDirectly: Connect;
  /**
   * Makes UDP sockets that send past the tunnel. By default the routes decide. That isn't enough if
   * addresses in `local` are routed into the device, since queries would then come back here.
   */
  readonly socketFor?: (server: Destination) => Socket;
  /** Suffixes whose names may have any address (--rebind-domain-ok), canonical. Default: none. */
  readonly rebindDomains?: readonly string[];
  /** Records the answers of the resolvers behind the jump host. */
  readonly book: NameBook;
  /** Whether the book also records the answers of this machine's own resolvers. Default: false. */
  readonly keepsLocalNames?: boolean;
  /** As in DnsServerOptions. */
  readonly userOf?: UserOf | undefined;
  /** A reload may add names: addresses for them are routed from the start. Default: false. */
  readonly mayGetNames?: boolean;
  /** Other tunnels with names on this machine. Default: nobody looks for any. */
  readonly neighbours?: Neighbours | undefined;
  readonly observer: Observer;
}

export class NameService {
  readonly server: DnsServer;
  readonly virtual: VirtualAddresses | undefined;
  /** To be routed into the device. */
  readonly prefixes: readonly Prefix[];
  /** The server's addresses, in the device's own blocks; canonical. */
  readonly addresses: ReadonlySet<string>;
  readonly #options: NameServiceOptions;
  #naming: Naming;
  #claims: Claims;
  readonly #route: Naming = (name) => this.#naming(name);
  readonly #rebinding: RebindingRules;
  /** The resolvers behind the jump host. */
  readonly #tunnel: Resolver | undefined;
  /** This machine's own resolvers. */
  #local: Resolver | undefined;
  #closed = false;

  /** Throws TunnelError `dns-no-block` if MAX_TUNNELS tunnels have taken all blocks for names. */
  constructor(options: NameServiceOptions) {
    const { naming, device, behind, local, book, observer } = options;
    const { nameTargets } = naming;
    const virtual =
      nameTargets.length === 0 && options.mayGetNames !== true
        ? undefined
        : createVirtual(device, naming, observer);
    this.#options = options;
    this.#naming = createNaming({ ...naming, book });
    this.#rebinding = new RebindingRules({
      permitted: options.rebindDomains ?? [],
      inside: naming.domains,
      own: ownRanges(device, naming.virtualRanges),
      observer,
    });
    this.#tunnel =
      behind === undefined
        ? undefined
        : new CachingResolver({
            upstream: new RecordingResolver(
              new RebindingGuard(behind, this.#rebinding),
              book.behind,
            ),
            observer,
          });
    this.#local = this.#localResolver(local);
    this.virtual = virtual?.addresses;
    this.prefixes = virtual?.prefixes ?? [];
    this.addresses = ownDnsAddresses(device);
    this.#claims = this.claimsWith(naming);
    this.server = new DnsServer({
      naming: this.#route,
      virtual: this.virtual,
      tunnel: this.#tunnel,
      local: this.#local,
      userOf: options.userOf,
      others: options.neighbours && othersOf(options.neighbours, () => this.#claims),
      observer,
    });
  }

  /** What this tunnel answers for. */
  get claims(): Claims {
    return this.#claims;
  }

  /** What it would answer for with these options. */
  claimsWith(naming: NamingOptions): Claims {
    return claimsOf(naming, this.prefixes);
  }

  /**
   * Answers for other names from now on. Names that stay keep their addresses. Without `virtual`,
   * name targets get none. The ranges of virtual addresses stay as they are.
   */
  setNaming(naming: NamingOptions): void {
    this.#naming = createNaming({ ...naming, book: this.#options.book });
    this.#rebinding.setInside(naming.domains);
    this.virtual?.setWritten(writtenOf(naming));
    this.#claims = this.claimsWith(naming);
  }

  /** Wraps `accept`: requests for virtual addresses become requests for names. */
  translate(accept: (request: FlowRequest) => void): (request: FlowRequest) => void {
    const { virtual } = this;
    return virtual === undefined
      ? accept
      : translateRequests(virtual, this.#options.observer, accept);
  }

  /**
   * A canonical name's addresses, from the resolvers behind the jump host; none if there are no
   * such resolvers. Undefined: this machine must resolve the name itself. Rejects with TunnelError
   * `dns-*`.
   */
  async lookup(name: string): Promise<readonly string[] | undefined> {
    const { kind } = this.#route(name);
    if (kind === 'nothing' || kind === 'stand-in') return [];
    return kind === 'local' || kind === 'loopback' ? undefined : lookupBy(name, this.#tunnel);
  }

  /**
   * Like `lookup`, for a connection past the tunnel. If there is no resolver behind the jump host,
   * this machine's own resolvers are asked for a name target.
   */
  async lookupPastTunnel(name: string): Promise<readonly string[] | undefined> {
    if (this.#route(name).kind !== 'virtual') return this.lookup(name);
    const resolver = this.#tunnel ?? this.#local;
    return resolver === undefined ? undefined : lookupBy(name, resolver);
  }

  /**
   * Replaces this machine's own resolvers. Queries that wait for the old ones are answered
   * SERVFAIL. Does nothing once closed.
   */
  setLocal(servers: readonly Destination[]): void {
    if (this.#closed) return;
    this.#local?.close();
    this.#local = this.#localResolver(servers);
    this.server.setLocal(this.#local);
  }

  /** Rejects the queries that wait for a resolver. From now on queries are answered SERVFAIL. */
  close(): void {
    this.#closed = true;
    this.server.close();
    this.#tunnel?.close();
    this.#local?.close();
  }

  #localResolver(servers: readonly Destination[]): Resolver | undefined {
    if (servers.length === 0) return undefined;
    const { connectDirectly, socketFor, book, keepsLocalNames = false, observer } = this.#options;
    const datagrams = new DatagramUpstream({
      servers,
      overStream: (server) =>
        new StreamUpstream({ servers: [server], connect: connectDirectly, observer }),
      observer,
      ...(socketFor === undefined ? {} : { socketFor }),
    });
    const upstream = new RebindingGuard(datagrams, this.#rebinding);
    return new CachingResolver({
      upstream: keepsLocalNames ? new RecordingResolver(upstream, book.here) : upstream,
      observer,
    });
  }
}

/** Names that are never passed on: those that no server may answer for otherwise. */
const HERE: ReadonlySet<NameRoute['kind']> = new Set(['loopback', 'nothing']);

function othersOf(neighbours: Neighbours, own: () => Claims): OtherTunnels {
  return {
    ownerOf(name, { kind }) {
      if (HERE.has(kind)) return undefined;
      // What is excluded, and the jump host's own name, is not claimed, whatever a suffix says.
      const rank = kind === 'local' ? UNCLAIMED : own().rank(name);
      return neighbours.ownerOf(name, rank);
    },
    refresh: () => neighbours.refresh(),
    async claims(greeted) {
      if (greeted) await neighbours.hearAll();
      return claimStrings(own());
    },
  };
}

async function lookupBy(name: string, resolver: Resolver | undefined): Promise<readonly string[]> {
  return resolver === undefined ? [] : lookupAddresses(resolver, name);
}

/** The addresses of a tunnel's DNS server, from those of its device. */
export function ownDnsAddresses({ address4, address6 }: DeviceAddresses): Set<string> {
  const addresses = [address4, address6].filter((address) => address !== undefined);
  return new Set(
    addresses.map((address) => {
      const octets = addressBytes(address);
      octets[octets.length - 1] = DNS_OCTET;
      return addressFromBytes(octets);
    }),
  );
}

/**
 * The ranges whose addresses no resolver may give. A range of --virtual-range takes the place of
 * this program's own in its family: there, only the device's own block remains. So the addresses of
 * another program in 198.18.0.0/15 are answered as they are.
 */
function ownRanges(device: DeviceAddresses, moved: readonly Prefix[] = []): readonly Prefix[] {
  const { address4, address6 } = device;
  const own = OWN_RANGES.filter((range) => !moved.some((it) => it.family === range.family));
  const blocks = [
    ...(address4 === undefined ? [] : [prefixAround(addressNumber(address4), 4, 24)]),
    ...(address6 === undefined ? [] : [prefixAround(addressNumber(address6), 6, 64)]),
  ];
  return [...own, ...moved, ...blocks];
}

function writtenOf({ nameTargets }: NamingOptions): readonly string[] {
  return nameTargets.filter(({ below }) => !below).map(({ name }) => name);
}

function createVirtual(
  device: DeviceAddresses,
  naming: NamingOptions,
  observer: Observer,
): { addresses: VirtualAddresses; prefixes: readonly Prefix[] } {
  const blocks = virtualBlocks(device, naming.virtualRanges);
  if (blocks === undefined) {
    throw new TunnelError(
      'dns-no-block',
      `no addresses are left for names: ${MAX_TUNNELS} tunnels with names can run at a time`,
      {
        hint: 'end a tunnel that is not needed, or another program that uses 198.18.0.0/15 (mihomo, Clash), or choose addresses with --virtual-range',
      },
    );
  }
  return {
    addresses: new VirtualAddresses({ blocks, observer, written: writtenOf(naming) }),
    prefixes: blockPrefixes(blocks),
  };
}
