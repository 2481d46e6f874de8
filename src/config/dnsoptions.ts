/**
 * The options about names: --dns, --dns-server, --domain, --rebind-domain-ok, --virtual-range.
 *
 * | given                     | names below --domain | other names                                |
 * |---------------------------|----------------------|--------------------------------------------|
 * | --dns                     |                      | this machine's resolvers, asked from the   |
 * |                           |                      | jump host, else the jump host's own        |
 * | --dns-server A            |                      | A, asked from the jump host                |
 * | --dns-server A --domain S | A                    | this machine's resolvers, asked as usual   |
 * | none                      |                      | this machine's resolvers, asked as usual   |
 *
 * --dns with --dns-server: A, else the jump host's own. dns/upstream/choice.ts finds out which
 * answers. Queries for name targets are always answered with virtual addresses. Reverse names of
 * targets that are networks are treated like the names below --domain.
 */
import type { NamingOptions } from '../dns/naming.ts';
import { UsageError } from '../errors/errors.ts';
import { canonicalAddress, isAddress } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { canonicalName, type NamePattern } from '../net/name.ts';
import { NotationError, quoted } from '../net/notation.ts';
import { filePrefix, type Place, readAt } from '../net/place.ts';
import { parsePort } from '../net/ports.ts';
import { hostPrefix, type Prefix, parsePrefix, prefixContains } from '../net/prefix.ts';
import { subtractPrefixes } from '../net/prefixset.ts';
import { OWN_RANGES, SPECIAL_RANGES, specialRangeOf } from '../net/special.ts';
import { type GivenOptions, readOptions, repeated, toggle } from './option.ts';

export const DNS_PORT = 53;
/** The most specific prefixes that have enough addresses for names, by family. */
const MOST_SPECIFIC = { 4: 24, 6: 112 } as const;
/** More servers would only delay the report of a failure. */
export const MAX_DNS_SERVERS = 8;
export const MAX_DOMAINS = 256;

/** Of which dns/upstream/choice.ts chooses. */
export interface TunnelResolvers {
  /** In the order in which they are asked. */
  readonly servers: readonly Destination[];
  /** Whether the user has named them. */
  readonly named: boolean;
  /** The jump host's own, as it reaches them itself. */
  readonly own: readonly Destination[];
}

export const DNS_OPTIONS = {
  heading: 'Names:',
  options: {
    dns: toggle('--dns', "send this machine's queries through the jump host"),
    dnsServer: repeated(
      '--dns-server <address[:port]>',
      'send queries to this resolver behind the jump host, over TCP (repeatable: in order)',
      readServer,
    ),
    domain: repeated(
      '--domain <suffix>',
      'only names below this go to --dns-server (repeatable)',
      readDomain,
    ),
    rebindDomainOk: repeated(
      '--rebind-domain-ok <suffix>',
      "names below this may have this machine's own addresses (repeatable)",
      readDomain,
    ),
    virtualRange: repeated(
      '--virtual-range <prefix>',
      'addresses that stand for names (default: in 198.18.0.0/15; one of each family)',
      readVirtualRange,
    ),
  },
} as const;

export interface DnsOptions {
  /** Queries for other names than targets use the tunnel: all, or those below `domains`. */
  readonly throughTunnel: boolean;
  /** In the order in which they are asked. Empty with `throughTunnel`: this machine's resolvers. */
  readonly servers: readonly Destination[];
  /** The jump host's own resolvers are asked where the others are of no use. Default: false. */
  readonly jumpHostsOwn?: true;
  /** Canonical names, without duplicates; empty: all names. */
  readonly domains: readonly string[];
  /** Suffixes whose names may have any address, canonical. Default: none. */
  readonly rebindDomains?: readonly string[];
  /** Where the addresses that stand for names are, one of each family. Default: OWN_RANGES. */
  readonly virtualRanges?: readonly Prefix[];
}

/** Throws UsageError. */
export function readDnsOptions(given: GivenOptions): DnsOptions {
  const { dns, dnsServer, domain, rebindDomainOk, virtualRange } = readOptions(DNS_OPTIONS, given);
  requireAtMost(dnsServer.length, MAX_DNS_SERVERS, '--dns-server');
  requireAtMost(domain.length, MAX_DOMAINS, '--domain');
  requireAtMost(rebindDomainOk.length, MAX_DOMAINS, '--rebind-domain-ok');
  requireOneOfEach(virtualRange);
  const servers = dnsServer.map(({ value }) => value);
  const [first] = domain;
  if (first !== undefined && servers.length === 0) {
    throw new UsageError(
      `${filePrefix(first.place)}--domain needs a resolver behind the jump host, and none is given`,
      {
        hint: "name it with --dns-server; 127.0.0.53 or 127.0.0.1 is often the jump host's own",
      },
    );
  }
  const domains = [...new Set(domain.map(({ value }) => value))];
  const rebindDomains = [...new Set(rebindDomainOk.map(({ value }) => value))];
  const virtualRanges = virtualRange.map(({ value }) => value);
  return {
    throughTunnel: dns !== undefined || servers.length > 0,
    servers,
    domains,
    ...(dns === undefined ? {} : { jumpHostsOwn: true }),
    ...(rebindDomains.length === 0 ? {} : { rebindDomains }),
    ...(virtualRanges.length === 0 ? {} : { virtualRanges }),
  };
}

/** The resolver of most machines themselves: systemd-resolved's stub, and any other. */
const JUMP_HOSTS_OWN: readonly Destination[] = ['127.0.0.53', '127.0.0.1'].map((host) => ({
  host,
  port: DNS_PORT,
}));

/**
 * The resolvers that may be asked through the tunnel: the given ones, or else those that this
 * machine asks (`uplinks`), which the jump host may reach at the same addresses. With --dns also
 * the jump host's own. Undefined: no names go through the tunnel.
 */
export function tunnelResolvers(
  { throughTunnel, servers, jumpHostsOwn }: DnsOptions,
  uplinks: readonly string[],
): TunnelResolvers | undefined {
  if (!throughTunnel) return undefined;
  const own = jumpHostsOwn ? JUMP_HOSTS_OWN : [];
  if (servers.length > 0) return { servers, named: true, own };
  const reachable = uplinks.filter(
    (address) => isAddress(address) && specialRangeOf(hostPrefix(address)) === undefined,
  );
  return { servers: reachable.map((host) => ({ host, port: DNS_PORT })), named: false, own };
}

/** Targets and exclusions of a Configuration, as names and as prefixes. */
interface NameRule {
  readonly pattern: NamePattern;
  readonly ports: readonly unknown[];
}
interface PrefixRule {
  readonly prefix: Prefix;
  readonly ports: readonly unknown[];
}

export interface NamingRules {
  readonly dns: DnsOptions;
  readonly nameTargets: readonly NameRule[];
  readonly nameExclusions: readonly NameRule[];
  readonly targets: readonly PrefixRule[];
  readonly exclusions: readonly PrefixRule[];
}

/**
 * Decides who answers for which names (dns/naming.ts). If an exclusion covers only some ports, its
 * name remains a target.
 */
export function namingOptions(rules: NamingRules): NamingOptions {
  const { throughTunnel, domains, virtualRanges } = rules.dns;
  return {
    nameTargets: rules.nameTargets.map(({ pattern }) => pattern),
    nameExclusions: rules.nameExclusions
      .filter(({ ports }) => ports.length === 0)
      .map(({ pattern }) => pattern),
    domains,
    ...(virtualRanges === undefined ? {} : { virtualRanges }),
    reversed: domains.length === 0 ? [] : reversedPrefixes(rules),
    beyond: throughTunnel && domains.length === 0 ? 'tunnel' : 'local',
  };
}

/** Targets wider than this (`0/0`, its halves) don't say whose addresses they are. Bits. */
const LEAST_REVERSED = { 4: 8, 6: 7 } as const;

/**
 * The addresses whose names the resolver behind the jump host knows: the networks that are targets.
 */
function reversedPrefixes({ targets, exclusions }: NamingRules): Prefix[] {
  const networks = targets
    .map(({ prefix }) => prefix)
    .filter((p) => p.length >= LEAST_REVERSED[p.family]);
  const excluded = exclusions.filter(({ ports }) => ports.length === 0).map(({ prefix }) => prefix);
  return subtractPrefixes(networks, [...excluded, ...SPECIAL_RANGES.map(({ prefix }) => prefix)]);
}

function requireAtMost(count: number, limit: number, option: string): void {
  if (count > limit)
    throw new UsageError(`${option} is given ${count} times, at most ${limit} are possible`, {
      hint: 'leave some of them out',
    });
}

function requireOneOfEach(
  ranges: readonly { readonly value: Prefix; readonly place: Place }[],
): void {
  for (const [i, { value, place }] of ranges.entries()) {
    if (!ranges.slice(0, i).some((earlier) => earlier.value.family === value.family)) continue;
    throw new UsageError(
      `${filePrefix(place)}--virtual-range is given twice for IPv${value.family}`,
      { hint: 'give one range for IPv4, and one for IPv6' },
    );
  }
}

/** `100.64.0.0/18`, `fd00:1::/96`. */
function readVirtualRange(text: string, place: Place): Prefix {
  const form = 'write a range that nothing else uses, as in: --virtual-range 100.127.0.0/18';
  return readAt(place, text, form, () => {
    const { prefix } = parsePrefix(text);
    const most = MOST_SPECIFIC[prefix.family];
    if (prefix.length > most)
      throw new NotationError(
        `${quoted(text)} has too few addresses, at most /${most} is possible`,
      );
    const special = specialRangeOf(prefix);
    if (special !== undefined && !isOwn(prefix))
      throw new NotationError(`${quoted(text)} can't stand for names: it is ${special.reason}`);
    return prefix;
  });
}

function isOwn(prefix: Prefix): boolean {
  return OWN_RANGES.some((range) => prefixContains(range, prefix));
}

/** `10.0.0.53`, `10.0.0.53:5353`, `2001:db8::53`, `[2001:db8::53]:5353`. */
function readServer(text: string, place: Place): Destination {
  const form = 'write ADDRESS or ADDRESS:PORT, as in: --dns-server 10.0.0.53';
  return readAt(place, text, form, () => {
    if (isAddress(text)) return { host: canonicalAddress(text), port: DNS_PORT };
    const [, bracketed, plain, portText] =
      /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(.*))?$/s.exec(text) ?? [];
    const host = bracketed ?? plain ?? '';
    if (!isAddress(host)) {
      throw new NotationError(
        `${quoted(text)} is not an address with an optional port`,
        'write the address of the resolver as the jump host reaches it, as in 10.0.0.53 or [2001:db8::53]:53',
      );
    }
    return {
      host: canonicalAddress(host),
      port: portText === undefined ? DNS_PORT : parsePort(portText),
    };
  });
}

/** A suffix. It may begin with `*.`, `.` or `~`, as in other programs. */
function readDomain(text: string, place: Place): string {
  return readAt(place, text, 'write a domain, as in: --domain corp.example.com', () =>
    canonicalName(text.replace(/^(?:~|\*\.|\.)/, '')),
  );
}
