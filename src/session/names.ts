/**
 * The names of a running tunnel, as all captures have them: the configuration's targets and options
 * turned into the DNS part's, and the connector and the policy that know both forms of a
 * destination.
 *
 *   Flows -> allow-list -> byKnownNames(policy)         an address that was answered for a name target is carried like the name
 *         -> Forms -> link                              prohibited in one form: the other one
 *   DNS server -> resolvers behind the jump host -> link
 *              -> this machine's own resolvers, past the tunnel
 */
import type { Socket } from 'node:dgram';
import type { GiveUpSignal } from '../base/giveup.ts';
import type { Configuration } from '../config/configuration.ts';
import { DNS_PORT, namingOptions, tunnelResolvers } from '../config/dnsoptions.ts';
import type { DirectOptions } from '../connect/direct.ts';
import { Forms } from '../connect/forms.ts';
import { lookupName } from '../connect/lookup.ts';
import { createNames, type DeviceAddresses, type Names } from '../dns/server/names.ts';
import { TunnelError } from '../errors/errors.ts';
import { streamOf } from '../flow/conduitstream.ts';
import { ConnectError, type Connector } from '../flow/connector.ts';
import { isAddress } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';
import type { AllowGuard } from '../policy/allowlist.ts';
import { byKnownNames, createFormRule, createTargetName } from '../policy/knownnames.ts';
import type { Policy } from '../policy/policy.ts';
import { planResolver, type ResolverPlan } from '../system/resolver/detect.ts';
import { readResolverFacts } from '../system/resolver/facts.ts';

/** Whether the tunnel answers queries at all. Without, names are this machine's alone. */
export function answersQueries({ nameTargets, dns, cloud }: Configuration): boolean {
  // A catalog mostly has names; which, is known only when the link stands.
  return nameTargets.length > 0 || dns.throughTunnel || cloud !== undefined;
}

/** How this machine's programs resolve names. */
export function currentResolverPlan(): ResolverPlan {
  return planResolver(readResolverFacts());
}

export interface TunnelNamesParts {
  /** The link, for queries to resolvers behind the jump host. */
  readonly connector: Connector;
  /** Dials past the tunnel. */
  readonly direct: Connector;
  /** Undefined addresses: nothing leads to virtual addresses, as with proxies. */
  readonly device: DeviceAddresses;
  readonly servers: readonly Destination[];
  /** This machine's own resolvers; empty: other names are refused. */
  readonly local: readonly string[];
  /** Other names don't exist. */
  readonly isolated?: boolean;
  readonly socketFor?: (server: Destination) => Socket;
  readonly ownNames?: () => readonly string[];
  /** For `localNamesOf`. Default: false. */
  readonly keepsLocalNames?: boolean;
  readonly observer: Observer;
}

/** Throws as createNames does. */
export function createTunnelNames(configuration: Configuration, parts: TunnelNamesParts): Names {
  const {
    connector,
    direct,
    device,
    servers,
    local,
    isolated,
    socketFor,
    ownNames,
    keepsLocalNames,
  } = parts;
  const { observer } = parts;
  const naming = namingOptions(configuration);
  return createNames({
    naming: {
      ...naming,
      beyond: isolated === true && naming.beyond === 'local' ? 'nothing' : naming.beyond,
      ...(ownNames === undefined ? {} : { ownNames }),
    },
    device,
    servers,
    connect: async (destination, options) =>
      streamOf(await connector.connect(destination, options)),
    local: destinations(local),
    connectDirectly: async (destination, options) =>
      streamOf(await direct.connect(destination, options)),
    ...(socketFor === undefined ? {} : { socketFor }),
    keepsLocalNames: keepsLocalNames ?? false,
    observer,
  });
}

/** Resolvers of this machine as destinations. */
export function destinations(resolvers: readonly string[]): Destination[] {
  return resolvers.map((host) => ({ host, port: DNS_PORT }));
}

/**
 * The names of a tunnel without a device: nothing asks it, but proxies that are told names.
 * Undefined: it has none.
 */
export function createProxyNames(
  configuration: Configuration,
  connector: Connector,
  direct: Connector,
  observer: Observer,
): Names | undefined {
  if (!answersQueries(configuration)) return undefined;
  return createTunnelNames(configuration, {
    connector,
    direct,
    device: { address4: undefined, address6: undefined },
    servers: tunnelResolvers(configuration.dns, currentResolverPlan().uplinks),
    local: [],
    observer,
  });
}

/**
 * What flows need of names; of `names` undefined, only what their clients say and this machine's
 * resolver.
 */
export interface NamedFlows {
  readonly tunnel: Connector;
  /** For Flows: a name whose addresses decide. */
  resolve(name: string, signal: GiveUpSignal): Promise<readonly string[]>;
}

export interface NamedPolicyParts {
  readonly guard: AllowGuard;
  /** Is asked for each time, because it may come after the policy. */
  readonly names: () => Names | undefined;
  /** What goes past the tunnel is held to the allow-list as well. Default: false. */
  readonly direct?: boolean;
  /** More names of an address that a connection past the tunnel goes to. */
  readonly localNamesOf?: (address: string) => readonly string[];
}

/** `policy` with the names that are known, and the allow-list before the transport. */
export function namedPolicy(
  configuration: Configuration,
  policy: Policy,
  { guard, names, direct = false, localNamesOf = () => [] }: NamedPolicyParts,
): Policy {
  const namesOf = namesBehind(names);
  return guard.guard(byKnownNames(policy, createTargetName(configuration, namesOf)), {
    direct,
    namesOf(address, way) {
      const behind = namesOf(address);
      if (way === 'tunnel') return behind;
      return [...behind, ...(names()?.localNamesOf(address) ?? []), ...localNamesOf(address)];
    },
  });
}

/** The names for which resolvers behind the jump host have answered a canonical address. */
export function namesBehind(
  names: () => Names | undefined,
): (address: string) => readonly string[] {
  return (address) => names()?.namesOf(address) ?? [];
}

export interface NamedFlowsParts extends Pick<NamedPolicyParts, 'guard' | 'names'> {
  /**
   * Held to the allow-list itself (connect/guarded.ts), also where it is asked for another form.
   */
  readonly connector: Connector;
  readonly observer: Observer;
}

export function createNamedFlows(
  rules: Pick<Configuration, 'targets' | 'exclusions' | 'nameTargets' | 'nameExclusions'>,
  { connector, guard, names, observer }: NamedFlowsParts,
): NamedFlows {
  const targetName = createTargetName(rules, namesBehind(names));
  const addressesOf = async (name: string, signal?: GiveUpSignal): Promise<readonly string[]> =>
    (await names()?.lookup(name)) ?? lookupName(name, signal);
  const forms = new Forms({
    connector,
    targetForm(destination) {
      const host = targetName(destination);
      return host !== undefined && guard.permits({ ...destination, host }) ? host : undefined;
    },
    otherForms: async ({ host }, { name, signal }) => {
      if (!isAddress(host)) return addressesOf(host, signal);
      return [...(name === undefined ? [] : [name]), ...(names()?.namesOf(host) ?? [])];
    },
    mayOpen: createFormRule(rules),
    observer,
  });
  return {
    tunnel: forms,
    async resolve(name, signal) {
      const found = await resolved(name, () => addressesOf(name, signal));
      signal.throwIfAborted();
      return found;
    },
  };
}

/** The lookup for connections past the tunnel. */
export function lookupForDirect(
  names: () => Names | undefined,
): NonNullable<DirectOptions['lookup']> {
  return async (name, signal) =>
    resolved(name, async () => (await names()?.lookupForDirect(name)) ?? lookupName(name, signal));
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
