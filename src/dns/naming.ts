/**
 * Decides who answers queries for a name: a pure function of the name and the options.
 *
 *   1. names that never leave this machine    -> loopback, or nothing
 *      (localhost, and how other resolvers are found)
 *   2. reverse names of stand-ins             -> stand-in
 *      (198.18.0.0/15 and 2001:2::/48: no other server knows them)
 *   3. the jump host's own names              -> local
 *      (they are needed before the tunnel is up)
 *   4. name targets that are not excluded     -> virtual
 *      (`api.example.com`, `*.corp.example`)
 *   5. --domain suffixes                      -> tunnel
 *      (the resolver behind the jump host)
 *   6. reverse names of `reversed` addresses  -> tunnel
 *      (split DNS: the addresses of the captured networks)
 *   7. everything else                        -> `beyond`
 *      (with --dns alone the tunnel, else this machine's resolvers, or nobody)
 *
 * Only rules 3 and 7 may send a name to this machine's resolvers. Names that match rules 4 to 6
 * never go there, even when the tunnel fails.
 */
import { isLocalhost, type NamePattern } from '../net/name.ts';
import { NameMap } from '../net/namemap.ts';
import type { Prefix } from '../net/prefix.ts';
import { PrefixSet } from '../net/prefixset.ts';
import { OWN_RANGES } from '../net/special.ts';
import { addressFromReverse, isReverse, reverseZones } from './reverse.ts';

export type NameRoute =
  /**
   * `zone` is the target's name, without `*.`. `exact`: the target is the name itself, no wildcard.
   */
  | { readonly kind: 'virtual'; readonly zone: string; readonly exact: boolean }
  /** The loopback addresses (RFC 6761 §6.3). */
  | { readonly kind: 'loopback'; readonly zone: string }
  /** A negative answer: no such name, or no such records. */
  | { readonly kind: 'nothing'; readonly zone: string; readonly exists: boolean }
  /**
   * The reverse name of an address in the ranges for devices and virtual addresses, whether of this
   * tunnel or of another one.
   */
  | { readonly kind: 'stand-in'; readonly address: string }
  | { readonly kind: 'tunnel' }
  | { readonly kind: 'local' };

export interface NamingOptions {
  readonly nameTargets: readonly NamePattern[];
  /** Only those for all ports: an exclusion for some ports leaves the name a target. */
  readonly nameExclusions: readonly NamePattern[];
  /** Canonical. Each covers itself and all names below it. */
  readonly domains: readonly string[];
  /** Where virtual addresses are besides OWN_RANGES. Default: nowhere. */
  readonly virtualRanges?: readonly Prefix[];
  /** Addresses whose reverse names go with `domains`. Default: none. */
  readonly reversed?: readonly Prefix[];
  /**
   * `nothing`: other names don't exist, and a search list goes on to its next suffix
   * (resolv.conf(5)).
   */
  readonly beyond: 'tunnel' | 'local' | 'nothing';
  /**
   * `own`: the names that are dialled to reach the jump host, canonical. Read each time. Default:
   * none.
   */
  readonly book?: { readonly own: readonly string[] };
}

export type Naming = (name: string) => NameRoute;

const TUNNEL: NameRoute = { kind: 'tunnel' };
const LOCAL: NameRoute = { kind: 'local' };
const BEYOND: Readonly<Record<NamingOptions['beyond'], NameRoute>> = {
  tunnel: TUNNEL,
  local: LOCAL,
  nothing: { kind: 'nothing', zone: '.', exists: false },
};
/**
 * Firefox looks this name up to decide whether to use the network's resolver. If the name doesn't
 * exist, Firefox doesn't switch to a resolver on the web of its own accord.
 */
const CANARY = 'use-application-dns.net';
/** Where clients look for an encrypted version of this resolver (RFC 9462 §4). It has none. */
const DISCOVERY = 'resolver.arpa';
/** systemd 252 accepts 256 domains for a link; other versions have had other limits. */
const MAX_ROUTED_DOMAINS = 200;
/**
 * If there are more zones, the whole reverse tree is routed here. Reverse names that aren't in
 * `reversed` then go on to this machine's resolvers.
 */
const MAX_REVERSE_ZONES = 64;

/**
 * The function that is returned takes a name in lower case without a dot at the end
 * (dns/wire/message.ts, nameText).
 */
export function createNaming(options: NamingOptions): Naming {
  const { nameTargets, nameExclusions, domains, reversed = [], beyond, book } = options;
  const standIns = new PrefixSet([...OWN_RANGES, ...(options.virtualRanges ?? [])]);
  const captured = new PrefixSet(reversed);
  const targets = new NameMap(nameTargets.map((pattern) => [pattern, undefined] as const));
  const exclusions = new NameMap(nameExclusions.map((pattern) => [pattern, undefined] as const));
  const suffixes = new NameMap(
    domains.flatMap((name) => [true, false].map((below) => [{ name, below }, undefined] as const)),
  );
  const rest = BEYOND[beyond];
  return (name) => {
    if (isLocalhost(name)) return { kind: 'loopback', zone: 'localhost' };
    if (name === CANARY) return { kind: 'nothing', zone: CANARY, exists: false };
    if (name === DISCOVERY || name.endsWith(`.${DISCOVERY}`))
      return { kind: 'nothing', zone: DISCOVERY, exists: true };
    const address = isReverse(name) ? addressFromReverse(name) : undefined;
    if (address !== undefined && standIns.contains(address)) return { kind: 'stand-in', address };
    if (book?.own.some((own) => isOwn(name, own))) return LOCAL;
    const [target] = exclusions.find(name).length > 0 ? [] : targets.find(name);
    if (target !== undefined)
      return { kind: 'virtual', zone: target.pattern.name, exact: !target.pattern.below };
    if (suffixes.find(name).length > 0) return TUNNEL;
    return address !== undefined && captured.contains(address) ? TUNNEL : rest;
  };
}

/**
 * Whether `name` is `own`. If `own` has one label, a suffix from the resolver's search list may
 * follow it (resolv.conf(5)).
 */
function isOwn(name: string, own: string): boolean {
  return name === own || (!own.includes('.') && name.startsWith(`${own}.`));
}

/**
 * The domains that another resolver must route here (systemd-resolved's routing domains): suffixes,
 * none of them below another, or `.` for all names. They cover every name that isn't `beyond`, and
 * may cover more: names that arrive here and aren't the tunnel's go on to this machine's resolvers.
 */
export function routedDomains({
  nameTargets,
  domains,
  reversed = [],
  virtualRanges = [],
  beyond,
}: NamingOptions): string[] {
  if (beyond === 'tunnel') return ['.'];
  const zones = new Set(reversed.flatMap(reverseZones));
  const routed = new Set([
    ...nameTargets.map(({ name }) => name),
    ...domains,
    // Without it Firefox asks a resolver on the web for names that only the tunnel knows.
    CANARY,
    ...[...OWN_RANGES, ...virtualRanges].flatMap(reverseZones),
    ...(zones.size > MAX_REVERSE_ZONES ? ['in-addr.arpa', 'ip6.arpa'] : zones),
  ]);
  const outermost = [...routed].filter(
    (name) => !parentsOf(name).some((parent) => routed.has(parent)),
  );
  return outermost.length > MAX_ROUTED_DOMAINS ? ['.'] : outermost;
}

/** `b.c` and `c` of `a.b.c`. */
function parentsOf(name: string): string[] {
  const labels = name.split('.');
  return labels.slice(1).map((_, i) => labels.slice(i + 1).join('.'));
}
