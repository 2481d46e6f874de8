/**
 * Puts the parts of this folder together for one tunnel: what answers queries, what the device has
 * to be routed for it, and what turns virtual addresses back.
 *
 *   names   = createNames({...})             once the device has its addresses
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
import { createNaming, type NamingOptions } from '../naming.ts';
import { lookupAddresses } from '../upstream/addresses.ts';
import { CachingResolver } from '../upstream/cache.ts';
import { DatagramUpstream } from '../upstream/datagram.ts';
import { KnownNames, RecordingResolver } from '../upstream/known.ts';
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

export interface NamesOptions {
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
  /**
   * Whether the answers of this machine's own resolvers are kept for `localNamesOf`. Default:
   * false.
   */
  readonly keepsLocalNames?: boolean;
  readonly observer: Observer;
}

export interface Names {
  readonly server: DnsServer;
  readonly virtual: VirtualAddresses | undefined;
  /** To be routed into the device. */
  readonly prefixes: readonly Prefix[];
  /** Where the server is to answer, in the device's own blocks; canonical. */
  readonly addresses: ReadonlySet<string>;
  /** Wraps what takes requests, for connections to virtual addresses. */
  translate(accept: (request: FlowRequest) => void): (request: FlowRequest) => void;
  /**
   * The names for which a canonical address was answered, by a resolver behind the jump host,
   * within its TTL.
   */
  namesOf(address: string): readonly string[];
  /**
   * The same of this machine's own resolvers, with `keepsLocalNames`: good for what goes past the
   * tunnel, never for sending something into it.
   */
  localNamesOf(address: string): readonly string[];
  /**
   * A canonical name's addresses, as far as they are known or asked for behind the jump host; none
   * where nobody there is known to ask. Undefined: the name is this machine's to resolve. Rejects
   * with TunnelError `dns-*`.
   */
  lookup(name: string): Promise<readonly string[] | undefined>;
  /**
   * As `lookup`, for a connection past the tunnel: a name target that isn't answered behind the
   * jump host is asked for here.
   */
  lookupForDirect(name: string): Promise<readonly string[] | undefined>;
  /**
   * This machine's own resolvers are others from now on; what waits for the former is answered
   * SERVFAIL. Nothing, once closed.
   */
  setLocal(servers: readonly Destination[]): void;
  /** Rejects what waits for a resolver; queries are answered SERVFAIL from now on. */
  close(): void;
}

/** Throws TunnelError `dns-no-block` when MAX_TUNNELS tunnels have taken the blocks for names. */
export function createNames(options: NamesOptions): Names {
  const { naming, device, servers, connect, local, connectDirectly, observer } = options;
  const virtual = naming.nameTargets.length === 0 ? undefined : createVirtual(device, observer);
  const cached = (upstream: Resolver) => new CachingResolver({ upstream, observer });
  const known = new KnownNames({ observer });
  const knownHere = options.keepsLocalNames === true ? new KnownNames({ observer }) : undefined;
  const tunnel =
    servers.length === 0
      ? undefined
      : cached(new RecordingResolver(new StreamUpstream({ servers, connect, observer }), known));
  const resolversHere = (of: readonly Destination[]) =>
    of.length === 0
      ? undefined
      : cached(
          recordedBy(
            knownHere,
            new DatagramUpstream({
              servers: of,
              overStream: (server) =>
                new StreamUpstream({ servers: [server], connect: connectDirectly, observer }),
              observer,
              ...(options.socketFor === undefined ? {} : { socketFor: options.socketFor }),
            }),
          ),
        );
  let own = resolversHere(local);
  let closed = false;
  const route = createNaming(naming);
  const lookupBy = async (name: string, resolver: Resolver | undefined) =>
    resolver === undefined ? [] : lookupAddresses(resolver, name);
  const server = new DnsServer({
    naming: route,
    virtual: virtual?.addresses,
    tunnel,
    local: own,
    observer,
  });
  return {
    server,
    virtual: virtual?.addresses,
    prefixes: virtual?.prefixes ?? [],
    addresses: ownDnsAddresses(device),
    namesOf: (address) => known.of(address),
    localNamesOf: (address) => knownHere?.of(address) ?? [],
    async lookup(name) {
      const { kind } = route(name);
      if (kind === 'nothing' || kind === 'stand-in') return [];
      return kind === 'local' || kind === 'loopback' ? undefined : lookupBy(name, tunnel);
    },
    async lookupForDirect(name) {
      const { kind } = route(name);
      if (kind !== 'virtual') return this.lookup(name);
      const resolver = tunnel ?? own;
      return resolver === undefined ? undefined : lookupBy(name, resolver);
    },
    translate: (accept) =>
      virtual === undefined ? accept : translateRequests(virtual.addresses, observer, accept),
    setLocal(servers) {
      if (closed) return;
      own?.close();
      own = resolversHere(servers);
      server.setLocal(own);
    },
    close() {
      closed = true;
      server.close();
      tunnel?.close();
      own?.close();
    },
  };
}

function recordedBy(known: KnownNames | undefined, resolver: Resolver): Resolver {
  return known === undefined ? resolver : new RecordingResolver(resolver, known);
}

/** The addresses of the DNS server of the tunnel whose device has these. */
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
