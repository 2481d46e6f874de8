/**
 * Names in a session: the configuration's targets and options turned into the DNS part's, and the
 * connector and the policy that know both forms of a destination.
 *
 *   Flows -> allow-list -> byKnownNames(policy)   an address that was answered for a name target is
 *                                                 carried like the name
 *         -> NameOrAddressConnector -> link       prohibited in one form: the other one
 *   DNS server -> resolvers behind the jump host -> link
 *              -> this machine's own resolvers, past the tunnel
 *
 * What an address was answered for stands in the tunnel's NameBook, which is there before anything
 * answers queries, and also when nothing does.
 */
import type { Socket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import type { Configuration } from '../config/configuration.ts';
import { DNS_PORT, namingOptions, tunnelResolvers } from '../config/dnsoptions.ts';
import type { DirectOptions } from '../connect/direct.ts';
import { lookupName } from '../connect/lookup.ts';
import { NameOrAddressConnector } from '../connect/nameoraddress.ts';
import type { NamingOptions } from '../dns/naming.ts';
import { type DeviceAddresses, NameService } from '../dns/server/nameservice.ts';
import type { Neighbours } from '../dns/server/neighbours.ts';
import { ResolverChoice, type ResolverChoiceOptions } from '../dns/upstream/choice.ts';
import type { KnownNames } from '../dns/upstream/known.ts';
import type { Resolver } from '../dns/upstream/resolver.ts';
import { TunnelError } from '../errors/errors.ts';
import { streamOf } from '../flow/conduitstream.ts';
import { ConnectError, type Connector } from '../flow/connector.ts';
import type { FlowsOptions } from '../flow/flows.ts';
import { isAddress } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { byKnownNames, createFormRule, createTargetName } from '../policy/knownnames.ts';
import type { Policy } from '../policy/policy.ts';
import type { SocketUsers } from '../system/socketusers.ts';
import { warnOfOthersInRanges } from './fakeaddresses.ts';
import type { Machine } from './machine.ts';
import type { Session } from './session.ts';
import type { Tunnel } from './tunnel.ts';

/** Whether the tunnel answers queries at all. Without, names are this machine's alone. */
export function answersQueries({ nameTargets, dns, cloud }: Configuration): boolean {
  // A catalog mostly has names; which, is known only when the link stands.
  return nameTargets.length > 0 || dns.throughTunnel || cloud !== undefined;
}

export interface NamesParts {
  /** Dials past the tunnel, by address only. */
  readonly direct: Connector;
  /** Undefined addresses: nothing leads to virtual addresses, as with proxies. */
  readonly device: DeviceAddresses;
  /** The resolvers behind the jump host (`openBehind`); undefined: nobody there is asked. */
  readonly behind: Resolver | undefined;
  /** This machine's own resolvers; empty: other names are refused. */
  readonly local: readonly string[];
  /** Other names don't exist. Default: false. */
  readonly isolated?: boolean;
  /** As in NameServiceOptions. */
  readonly socketFor?: (server: Destination) => Socket;
  /** As in NameServiceOptions. */
  readonly keepsLocalNames?: boolean;
  /** Whose queries come in, where users share them. Default: nobody is told from others. */
  readonly users?: SocketUsers;
  /** Other tunnels on this machine. Default: nobody looks for any. */
  readonly neighbours?: Neighbours;
}

/** Who answers for which names; `isolated` as in NamesParts. */
export function namingOf(configuration: Configuration, isolated = false): NamingOptions {
  const naming = namingOptions(configuration);
  return { ...naming, beyond: isolated && naming.beyond === 'local' ? 'nothing' : naming.beyond };
}

/** What answers queries, as part of `session`. Throws as the constructor of NameService does. */
export function openNames(session: Session, tunnel: Tunnel, parts: NamesParts): NameService {
  const { configuration, book, observer } = tunnel;
  const {
    direct,
    device,
    behind,
    local,
    isolated = false,
    socketFor,
    keepsLocalNames,
    users,
    neighbours,
  } = parts;
  const naming = namingOf(configuration, isolated);
  if (device.address4 !== undefined || device.address6 !== undefined) {
    const moved = new Set(naming.virtualRanges?.map(({ family }) => family));
    const interfaces = networkInterfaces();
    warnOfOthersInRanges({ interfaces, resolvers: local, moved }, observer);
  }
  const names = new NameService({
    naming,
    mayGetNames: tunnel.mayGetNames,
    device,
    behind,
    local: destinations(local),
    connectDirectly: async (destination, options) =>
      streamOf(await direct.connect(destination, options)),
    ...(socketFor === undefined ? {} : { socketFor }),
    rebindDomains: configuration.dns.rebindDomains ?? [],
    book,
    keepsLocalNames: keepsLocalNames ?? false,
    userOf: users === undefined ? undefined : (socket, peer) => users.userOf(socket, peer),
    neighbours,
    observer,
  });
  tunnel.current.follow((next) => names.setNaming(namingOf(next, isolated)));
  return session.own('the DNS server', names, (it) => it.close());
}

/**
 * The resolvers behind the jump host that are of use now, as part of `session`; undefined: no names
 * go there. `uplinks`: the resolvers of this machine, as they are when they are read. Rejects with
 * TunnelError `dns-no-resolver`.
 */
export async function openBehind(
  session: Session,
  { configuration, current, connector, link, guard, observer }: Tunnel,
  uplinks: () => readonly string[],
): Promise<Resolver | undefined> {
  const { dns, ssh } = configuration;
  const first = tunnelResolvers(dns, uplinks());
  if (first === undefined) return undefined;
  const connect: ResolverChoiceOptions['connect'] = async (destination, options) =>
    streamOf(await connector.connect(destination, options));
  const choice = new ResolverChoice({
    candidates: () => tunnelResolvers(dns, uplinks()) ?? first,
    get domains() {
      return current.configuration.dns.domains;
    },
    connect,
    // What is tried belongs into no list of what the run has needed.
    async connectToTry(destination, options) {
      if (!guard.permits(destination)) throw new Error('the allow-list has no rule for it');
      return streamOf(await link.connect(destination, options));
    },
    observer,
    linkMs: ssh.onDemand === undefined ? 0 : ssh.reconnectHold * 1000,
  });
  session.own('the resolvers behind the jump host', choice, (it) => it.close());
  // On demand, the first question finds out, since nobody is dialled before.
  if (ssh.onDemand === undefined) await session.within(choice.start());
  return choice;
}

/**
 * The names of a tunnel without a device: nothing asks it, except proxies that are told names.
 * Undefined: it has none.
 */
export async function openProxyNames(
  session: Session,
  tunnel: Tunnel,
  { machine, direct }: { readonly machine: Machine; readonly direct: Connector },
): Promise<NameService | undefined> {
  if (!answersQueries(tunnel.configuration)) return undefined;
  return openNames(session, tunnel, {
    direct,
    device: { address4: undefined, address6: undefined },
    behind: await openBehind(session, tunnel, () => machine.resolverPlan().uplinks),
    local: [],
  });
}

/** Resolvers of this machine as destinations. */
export function destinations(resolvers: readonly string[]): Destination[] {
  return resolvers.map((host) => ({ host, port: DNS_PORT }));
}

/** Of a Tunnel: what its policies are made of. */
export interface Decided extends Pick<Tunnel, 'guard' | 'book'> {
  readonly configuration: Pick<
    Configuration,
    'targets' | 'exclusions' | 'nameTargets' | 'nameExclusions'
  >;
}

/**
 * `policy` with the names that are known, and the allow-list before the link. `guardsDirect`:
 * connections past the tunnel need a rule as well.
 */
export function namedPolicy(
  { configuration, guard, book }: Decided,
  policy: Policy,
  guardsDirect = false,
): Policy {
  const targetName = createTargetName(configuration, (address) => book.namesOf(address));
  return guard.guard(byKnownNames(policy, targetName), {
    direct: guardsDirect,
    namesOf: (address, way) =>
      way === 'tunnel' ? book.namesOf(address) : book.namesPastTunnel(address),
  });
}

/** The same for a running tunnel: it follows reloads. */
export function livePolicy(
  { current, guard, book }: Pick<Tunnel, 'current' | 'guard' | 'book'>,
  make: (configuration: Configuration) => Policy,
  guardsDirect = false,
): Policy {
  return current.policy((configuration) =>
    namedPolicy({ configuration, guard, book }, make(configuration), guardsDirect),
  );
}

/** What a connection that is prohibited in one form may be opened as. */
export function createNameOrAddress(
  tunnel: Decided & Pick<Tunnel, 'connector' | 'observer'>,
  names: Pick<NameService, 'lookup'> | undefined,
): NameOrAddressConnector {
  const { configuration, guard, book, connector, observer } = tunnel;
  const targetName = createTargetName(configuration, (address) => book.namesOf(address));
  const addressesOf = addressesBy(names);
  return new NameOrAddressConnector({
    connector,
    targetForm(destination) {
      const host = targetName(destination);
      return host !== undefined && guard.permits({ ...destination, host }) ? host : undefined;
    },
    otherForms: async ({ host }, { name, signal }) => {
      if (!isAddress(host)) return addressesOf(host, signal);
      return [...(name === undefined ? [] : [name]), ...book.namesOf(host)];
    },
    mayOpen: createFormRule(configuration),
    observer,
  });
}

type Lookup = NonNullable<DirectOptions['lookup']>;

/** Names first, then this machine's resolver. */
function addressesBy(names: Pick<NameService, 'lookup'> | undefined): Lookup {
  return async (name, signal) => (await names?.lookup(name)) ?? lookupName(name, signal);
}

/** For Flows: a name whose addresses decide. `known`: where these are kept with the name. */
export function createResolve(
  names: Pick<NameService, 'lookup'> | undefined,
  known: KnownNames | undefined,
): FlowsOptions['resolve'] {
  const addressesOf = addressesBy(names);
  return async (name, signal) => {
    const found = await resolved(name, () => addressesOf(name, signal));
    signal.throwIfAborted();
    for (const address of found) known?.add(name, { address, ttl: 0 });
    return found;
  };
}

/** The lookup for connections past the tunnel. */
export function lookupPastTunnel(names: NameService | undefined): Lookup {
  return async (name, signal) =>
    resolved(name, async () => (await names?.lookupPastTunnel(name)) ?? lookupName(name, signal));
}

/** As `lookupName` has it: at least one address, and failures are ConnectErrors. */
async function resolved(
  name: string,
  look: () => Promise<readonly string[]>,
): Promise<readonly string[]> {
  let found: readonly string[];
  try {
    found = await look();
  } catch (cause) {
    if (!(cause instanceof TunnelError) || !cause.code.startsWith('dns-')) throw cause;
    throw new ConnectError('unreachable', `the name ${name} can't be resolved: ${cause.message}`, {
      cause,
    });
  }
  if (found.length > 0) return found;
  throw new ConnectError('unreachable', `the name ${name} has no address that is known here`);
}
