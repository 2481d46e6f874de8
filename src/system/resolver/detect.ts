/**
 * Finds out how names are resolved on this machine, and what must be changed so that queries come
 * to the tunnel. Pure: facts in, plan out.
 *
 *   programs ask                                  so that queries come here
 *   ────────────────────────────────────────────  ────────────────────────────────────────────
 *   systemd-resolved: its stub 127.0.0.53 in      settings of the TUN device in
 *   resolv.conf, or nss-resolve                   systemd-resolved (resolved.ts): it asks the
 *                                                 tunnel's server for the names that are routed
 *   a resolver on the network (resolv.conf has    a route to its address into the TUN: the tunnel
 *   its address)                                  answers in its place
 *   another resolver on this machine (127.0.0.1:  resolv.conf is rewritten (file.ts), the last
 *   dnsmasq, unbound), a link-local address with  resort
 *   or without a zone, or one on the network
 *   whose answers to the tunnel a strict filter
 *   would drop
 *
 * The content of resolv.conf counts, not who wrote it. A header that names systemd-resolved doesn't
 * mean that programs ask it, and a file from NetworkManager may name the stub.
 *
 * Several can apply at once: nss-resolve together with a resolv.conf that names the network's
 * resolvers needs both settings and routes.
 */
import { family, isZoned } from '../../net/address.ts';
import { hostPrefix, prefixContains } from '../../net/prefix.ts';
import { OWN_RANGES, specialRangeOf } from '../../net/special.ts';
import { hostsServices } from './hosts.ts';
import { DEFAULT_RESOLVER, formerResolvers, parseResolvConf } from './resolvconf.ts';

/** systemd-resolved(8): the stub, and the stub in proxy mode. */
const STUBS: ReadonlySet<string> = new Set(['127.0.0.53', '127.0.0.54']);
/** As many as the resolver library would ask. More would only make failures take longer. */
const MAX_UPLINKS = 3;

export interface ResolverFacts {
  /** The text of /etc/resolv.conf; undefined: there is no such file. */
  readonly resolvConf: string | undefined;
  /** systemd-resolved is running. */
  readonly resolved: boolean;
  /**
   * The file in which systemd-resolved lists the servers that it asks
   * (/run/systemd/resolve/resolv.conf).
   */
  readonly resolvedUplinks: string | undefined;
  /** The text of /etc/nsswitch.conf. */
  readonly nsswitch: string | undefined;
  /** The kernel drops IPv4 answers from a captured address (system/reversepath.ts). */
  readonly filtersReversePath: boolean;
}

export type ResolverStep =
  | { readonly kind: 'resolved' }
  /** Canonical addresses to route into the TUN, where the tunnel's server answers on port 53. */
  | { readonly kind: 'routes'; readonly addresses: readonly string[] }
  /** `why` completes "resolv.conf has to be rewritten, because ..." */
  | { readonly kind: 'file'; readonly why: string };

export interface ResolverPlan {
  /** The resolvers that programs ask, canonical, with their zones. */
  readonly resolvers: readonly string[];
  /**
   * The resolvers to ask for names that aren't the tunnel's, canonical, with their zones. If
   * programs ask the stub, these are its servers.
   */
  readonly uplinks: readonly string[];
  readonly steps: readonly ResolverStep[];
}

export function planResolver(facts: ResolverFacts): ResolverPlan {
  const former = formerResolvers(facts.resolvConf ?? '');
  if (former !== undefined) return planBeside(facts.resolvConf ?? '', former);
  const { resolvers: named, defaultToo } = parseResolvConf(facts.resolvConf ?? '');
  const resolvers = named.length === 0 ? [DEFAULT_RESOLVER] : [...new Set(named)];
  const asksStub = facts.resolved && resolvers.some((address) => STUBS.has(address));
  const steps: ResolverStep[] = [];
  if (asksResolved(facts)) steps.push({ kind: 'resolved' });
  const isFiltered = (address: string): boolean =>
    facts.filtersReversePath && family(address) === 4 && canBeRouted(address);
  const addresses = resolvers.filter((address) => canBeRouted(address) && !isFiltered(address));
  if (addresses.length > 0) steps.push({ kind: 'routes', addresses });
  const zoned = resolvers.find(isZoned);
  const local = resolvers.find(
    (address) => !isZoned(address) && !canBeRouted(address) && !(asksStub && STUBS.has(address)),
  );
  const filtered = resolvers.find(isFiltered);
  if (local !== undefined)
    steps.push({ kind: 'file', why: `programs ask ${local}, which no route can lead elsewhere` });
  else if (filtered !== undefined)
    steps.push({
      kind: 'file',
      why: `programs ask ${filtered}, whose answers the kernel would drop (rp_filter) if it were captured`,
    });
  else if (zoned !== undefined)
    steps.push({ kind: 'file', why: `programs ask ${zoned}, which belongs to one link` });
  else if (defaultToo)
    steps.push({
      kind: 'file',
      why: `its lines end in carriage returns, for which the C library ignores ${resolvers.join(', ')} and asks ${DEFAULT_RESOLVER}`,
    });
  const uplinks = asksStub ? uplinksOf(facts.resolvedUplinks ?? '') : resolvers;
  return { resolvers, uplinks, steps };
}

/** Whether programs ask systemd-resolved, by its stub or by its own interface. */
export function asksResolved({
  resolved,
  resolvConf,
  nsswitch,
}: Pick<ResolverFacts, 'resolved' | 'resolvConf' | 'nsswitch'>): boolean {
  if (!resolved) return false;
  const { resolvers } = parseResolvConf(resolvConf ?? '');
  return resolvers.some((address) => STUBS.has(address)) || usesNssResolve(nsswitch ?? '');
}

/** Another tunnel has rewritten resolv.conf, so this one has to keep it so (file.ts). */
function planBeside(text: string, former: readonly string[]): ResolverPlan {
  return {
    resolvers: parseResolvConf(text).resolvers,
    uplinks: [...new Set(former)],
    steps: [{ kind: 'file', why: 'another tunnel has done so before' }],
  };
}

/**
 * The servers that systemd-resolved asks. It lists those of every link; those of a tunnel's device
 * may come first.
 */
function uplinksOf(text: string): string[] {
  const { resolvers } = parseResolvConf(text, Number.POSITIVE_INFINITY);
  return [...new Set(resolvers)]
    .filter((address) => !STUBS.has(address) && !isOwn(address))
    .slice(0, MAX_UPLINKS);
}

/**
 * Whether it is a tunnel's DNS server, which systemd-resolved asks because of the device's
 * settings.
 */
function isOwn(address: string): boolean {
  return (
    !isZoned(address) && OWN_RANGES.some((range) => prefixContains(range, hostPrefix(address)))
  );
}
function canBeRouted(address: string): boolean {
  if (isZoned(address)) return false;
  const special = specialRangeOf(hostPrefix(address));
  return special === undefined || special.onRequest;
}

/**
 * `hosts: files resolve [!UNAVAIL=return] dns`: with this, programs ask systemd-resolved without
 * reading resolv.conf.
 */
function usesNssResolve(nsswitch: string): boolean {
  return hostsServices(nsswitch)?.includes('resolve') === true;
}
