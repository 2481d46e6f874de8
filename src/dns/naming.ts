/**
 * Who answers for a name: a pure function of what the user asked for.
 *
 *   1. names that never leave this machine    -> loopback, or nothing
 *      (localhost, and how other resolvers are found)
 *   2. reverse names of stand-ins             -> stand-in
 *      (198.18.0.0/15 and 2001:2::/48: nobody else knows them)
 *   3. the jump host's own names              -> local
 *      (the tunnel can't tell the way to itself)
 *   4. name targets that are not excluded     -> virtual
 *      (`api.example.com`, `*.corp.example`)
 *   5. --domain suffixes                      -> tunnel
 *      (the resolver behind the jump host)
 *   6. reverse names of `reversed` addresses  -> tunnel
 *      (split DNS: those of the networks that are captured)
 *   7. everything else                        -> `beyond`
 *      (tunnel with --dns alone, else this machine's, or nobody's)
 *
 * Only rules 3 and 7 may send a name to this machine's resolvers; what 4 to 6 hold never goes
 * there, also not when the tunnel fails.
 */
import { isLocalhost, type NamePattern } from '../net/name.ts';
import { NameMap } from '../net/namemap.ts';
import type { Prefix } from '../net/prefix.ts';
import { PrefixSet } from '../net/prefixset.ts';
import { OWN_RANGES } from '../net/special.ts';
import { addressFromReverse, isReverse, reverseZones } from './reverse.ts';

export type NameRoute =
  /**
   * `zone` is the target's name, without `*.`; `exact`: the name itself is written in the target.
   */
  | { readonly kind: 'virtual'; readonly zone: string; readonly exact: boolean }
  /** The loopback addresses (RFC 6761 §6.3). */
  | { readonly kind: 'loopback'; readonly zone: string }
  /** Answered in the negative: no such name, or no such records. */
  | { readonly kind: 'nothing'; readonly zone: string; readonly exists: boolean }
  /**
   * The reverse name of an address in the ranges for devices and virtual addresses, of this tunnel
   * or of another one.
   */
  | { readonly kind: 'stand-in'; readonly address: string }
  | { readonly kind: 'tunnel' }
  | { readonly kind: 'local' };

export interface NamingOptions {
  readonly nameTargets: readonly NamePattern[];
  /** Those for all ports; one for some ports leaves the name a target. */
  readonly nameExclusions: readonly NamePattern[];
  /** Canonical; each stands for itself and everything below. */
  readonly domains: readonly string[];
  /** Addresses whose reverse names go with `domains`. Default: none. */
  readonly reversed?: readonly Prefix[];
  /**
   * `nothing`: other names don't exist, so that a search list goes on to its next suffix
   * (resolv.conf(5)).
   */
  readonly beyond: 'tunnel' | 'local' | 'nothing';
  /** Names that are dialled to reach the jump host, canonical; read each time. Default: none. */
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
 * Firefox asks for it whether the network's own resolver should be used (it then doesn't turn to
 * one on the web by itself).
 */
const CANARY = 'use-application-dns.net';
/**
 * Where clients look for an encrypted resolver that stands for this one (RFC 9462 §4); there is
 * none.
 */
const DISCOVERY = 'resolver.arpa';
/** systemd 252 takes 256 domains for a link; the limit has changed more than once. */
const MAX_ROUTED_DOMAINS = 200;
/**
 * More of them become the whole reverse tree: what isn't `reversed` of it is asked for at this
 * machine's resolvers again.
 */
const MAX_REVERSE_ZONES = 64;

/**
 * The function takes a name in lower case without a dot at the end (dns/wire/message.ts, nameText).
 */
export function createNaming(options: NamingOptions): Naming {
  const { nameTargets, nameExclusions, domains, reversed = [], beyond, book } = options;
  const standIns = new PrefixSet(OWN_RANGES);
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

/** A name of one label also with what the resolver's search list appends to it (resolv.conf(5)). */
function isOwn(name: string, own: string): boolean {
  return name === own || (!own.includes('.') && name.startsWith(`${own}.`));
}

/**
 * What a resolver has to be told to send here (systemd-resolved's routing domains): suffixes, none
 * of them below another, or `.` for all names. It may be more than what isn't `beyond`, never less:
 * what comes here and isn't the tunnel's is asked for at this machine's resolvers.
 */
export function routedDomains({
  nameTargets,
  domains,
  reversed = [],
  beyond,
}: NamingOptions): string[] {
  if (beyond === 'tunnel') return ['.'];
  const zones = new Set(reversed.flatMap(reverseZones));
  const routed = new Set([
    ...nameTargets.map(({ name }) => name),
    ...domains,
    // Or Firefox asks a resolver on the web for names that only the tunnel knows.
    CANARY,
    ...OWN_RANGES.flatMap(reverseZones),
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
