/** What is decided about `tunnel exec` before anything is started. */
import {
  NAMESPACE_MTU,
  type NamespaceAddresses,
  namespaceAddresses,
} from '../capture/namespace/namespace.ts';
import type { ExecConfiguration } from '../config/execoptions.ts';
import type { LauncherSetup } from '../system/launcher/protocol.ts';
import { descriptorLimitAtStart } from '../system/limits.ts';
import { type ResolverConfiguration, resolvConfText } from '../system/resolver/resolvconf.ts';
import type { Machine } from './machine.ts';
import { answersQueries } from './names.ts';

/** Who resolves names for the command, where the tunnel's own server answers it. */
export interface ExecNames {
  /** This machine's, for the other names; none with --isolate. */
  readonly local: readonly string[];
  readonly isolated: boolean;
}

export interface ExecPlan {
  readonly addresses: NamespaceAddresses;
  /** The resolvers' addresses as the command sees them, to those that they stand for. */
  readonly resolvers: ReadonlyMap<string, string>;
  /** This machine's, as resolv.conf names them at the start. */
  readonly hostResolvers: readonly string[];
  readonly setup: LauncherSetup;
  /** undefined: the host's resolvers, which the command asks itself. */
  readonly names: ExecNames | undefined;
}

/**
 * With name targets, a cloud, --dns or an allow-list, resolv.conf inside names the tunnel's own DNS
 * server; otherwise stand-ins for the host's resolvers.
 */
export function planExec(
  { tunnel, isolate, command }: ExecConfiguration,
  machine: Pick<Machine, 'resolverConfiguration'>,
): ExecPlan {
  const { resolvers, lines }: ResolverConfiguration = machine.resolverConfiguration();
  const heldToList = tunnel.allow.rules !== undefined || tunnel.allow.dryRun;
  const names =
    answersQueries(tunnel) || (heldToList && !isolate)
      ? { local: isolate ? [] : resolvers, isolated: isolate }
      : undefined;
  // The first stand-in is where the tunnel's DNS server answers, if it does; then it stands for no
  // other.
  const addresses = namespaceAddresses(names === undefined ? resolvers.length : 1);
  const standIns =
    names === undefined
      ? addresses.resolvers.map((address, i) => [address, resolvers[i] ?? ''] as const)
      : [];
  return {
    names,
    addresses,
    resolvers: new Map(standIns),
    hostResolvers: resolvers,
    setup: {
      isolate,
      verbatim: isMangled([...command, ...Object.entries(process.env).flat()]),
      mtu: NAMESPACE_MTU,
      address4: addresses.address4,
      address6: addresses.address6,
      descriptors: descriptorLimitAtStart(),
      resolvConf: resolvConfText(addresses.resolvers, lines),
    },
  };
}

/** Whether Node has had to replace bytes that are no UTF-8. */
function isMangled(texts: readonly (string | undefined)[]): boolean {
  return texts.some((text) => text?.includes('\ufffd'));
}
