/**
 * What happens to a connection: a pure function of what the user asked for. Nothing here waits,
 * resolves names or keeps state.
 *
 *   targets, exclusions  --createPolicy-->      decide({host, port}) -> a verdict per connection
 *                        --capturedPrefixes-->  the prefixes to route, once
 *
 * The rules. The first that applies decides:
 *
 *   1. excluded for all ports, or for this one        -> direct
 *   2. inside a target for all ports, or for this one -> tunnel
 *   3. inside targets for other ports only            -> refuse (prohibited)
 *   4. anything else                                  -> `beyond`: direct, unless a proxy's options
 *                                                     say otherwise
 *
 * An exclusion wins, however narrow the target is. A special range (net/special.ts) is left out of
 * every wider target. A target inside a special range counts only if that range may be captured on
 * request, or for a proxy, whose clients name their destinations, so it needs no route.
 *
 * For a name (a proxy's clients may send one) the rules by name decide, before all rules by
 * address. If none applies and some targets are addresses, the verdict is `resolve`: the caller
 * resolves the name and asks again for each address. With `beyond: tunnel` this machine never
 * resolves names.
 *
 * `capturedPrefixes` turns the same targets into routes: a prefix is captured if a connection to
 * some port of its addresses may have to be tunnelled or refused. So connections that rule 1 makes
 * direct because of their port are captured as well. The result never contains a default route,
 * because special ranges are cut out of 0/0 and ::/0. The remaining prefixes are longer. They win
 * over the machine's own default route without replacing it.
 */
import { UsageError } from '../errors/errors.ts';
import { isAddress } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { formatNamePattern, isLocalhost, type NamePattern } from '../net/name.ts';
import { NameMap, type NameMatch } from '../net/namemap.ts';
import { formatPorts, mergePorts, type PortRange, portsInclude } from '../net/ports.ts';
import { formatPrefix, type Prefix, prefixContains } from '../net/prefix.ts';
import { type Covering, PrefixMap } from '../net/prefixmap.ts';
import { comparePrefixes, mergePrefixes, subtractPrefixes } from '../net/prefixset.ts';
import type { Refusal } from '../net/refusal.ts';
import { SPECIAL_RANGES, type SpecialRange, specialRangeOf } from '../net/special.ts';

/** The most routes that are installed. The helper has the same limit (native/helper/protocol.h). */
export const MAX_CAPTURED_PREFIXES = 8192;

/** A range of addresses, limited to some ports if `ports` isn't empty. config's `Target` is one. */
export interface Rule {
  readonly prefix: Prefix;
  readonly ports: readonly PortRange[];
}

/**
 * A name or all names below one, limited to some ports if `ports` isn't empty. config's
 * `NameTarget` is one.
 */
export interface NameRule {
  readonly pattern: NamePattern;
  readonly ports: readonly PortRange[];
}

export interface Rules {
  readonly targets: readonly Rule[];
  readonly exclusions: readonly Rule[];
  readonly nameTargets?: readonly NameRule[];
  readonly nameExclusions?: readonly NameRule[];
}

/**
 * What happens to a destination that no target contains. `refuse` also applies to what is excluded
 * from the targets.
 */
export type Beyond = 'direct' | 'tunnel' | 'refuse';

export interface PolicyOptions {
  /** Default: direct. */
  readonly beyond?: Beyond;
  /** The destinations come from a proxy's clients, so a target inside any special range counts. */
  readonly proxied?: boolean;
  /**
   * The clients are on other machines. This machine's loopback, link-local and own addresses
   * (`isOwnAddress`) are not dialled for them, and an exclusion doesn't change that: to the machine
   * such a connection would come from itself.
   */
  readonly remoteClients?: boolean;
  /** Whether a device of this machine has the address now. Default: none has any. */
  readonly isOwnAddress?: (address: string) => boolean;
}

export type Verdict =
  | { readonly kind: 'tunnel' }
  /** `why` completes "goes directly: ..." */
  | { readonly kind: 'direct'; readonly why: string }
  /** `why` completes "refused: ..." */
  | { readonly kind: 'refuse'; readonly refusal: Refusal; readonly why: string }
  /** The destination is a name, and its addresses decide. Never for an address. */
  | { readonly kind: 'resolve' };

export interface Policy {
  /**
   * Takes a canonical address or name, as `Destination` promises. Synchronous. Takes logarithmic
   * time in the number of rules.
   */
  decide(destination: Destination): Verdict;
}

const TUNNEL: Verdict = { kind: 'tunnel' };
const RESOLVE: Verdict = { kind: 'resolve' };
const NO_TARGET = 'no target contains it';
/**
 * Stands for every address of `localhost`: the loopback addresses of both families get the same
 * verdict.
 */
const LOOPBACK = '127.0.0.1';

export function createPolicy(rules: Rules, options: PolicyOptions = {}): Policy {
  const { targets, exclusions, nameTargets = [], nameExclusions = [] } = rules;
  const { beyond = 'direct', proxied = false, remoteClients = false } = options;
  const { isOwnAddress = () => false } = options;
  const targetMap = new PrefixMap(targets.map((rule) => [rule.prefix, rule.ports] as const));
  const exclusionMap = new PrefixMap(exclusions.map((rule) => [rule.prefix, rule.ports] as const));
  const specialMap = new PrefixMap(SPECIAL_RANGES.map((range) => [range.prefix, range] as const));
  const nameTargetMap = new NameMap(nameTargets.map((rule) => [rule.pattern, rule.ports] as const));
  const nameExclusionMap = new NameMap(
    nameExclusions.map((rule) => [rule.pattern, rule.ports] as const),
  );
  /** Whether the addresses of a name could make a difference. */
  const addressesDecide =
    beyond !== 'tunnel' && (targets.length > 0 || (remoteClients && beyond === 'direct'));

  const outside = (why: string): Verdict =>
    beyond === 'refuse' ? { kind: 'refuse', refusal: 'prohibited', why } : { kind: 'direct', why };

  /** For an address that isn't tunnelled. */
  const addressOutside = (host: string, range: SpecialRange | undefined, why: string): Verdict => {
    const own = range?.reason ?? (isOwnAddress(host) ? 'an address of this machine' : undefined);
    return remoteClients && own !== undefined
      ? { kind: 'refuse', refusal: 'prohibited', why: `it is ${own}` }
      : outside(why);
  };

  const decideAddress = (host: string, port: number): Verdict => {
    const excluded = excludedBy(exclusionMap.find(host), port);
    const range = specialMap.find(host)?.values[0];
    if (excluded !== undefined) return addressOutside(host, range, excluded);
    const covering = targetMap.find(host);
    if (covering === undefined && beyond === 'tunnel') return TUNNEL;
    const verdict = decideTarget(covering, port, range, proxied);
    if (verdict !== undefined) return verdict;
    if (beyond === 'tunnel') return TUNNEL;
    return addressOutside(host, range, range === undefined ? NO_TARGET : `it is ${range.reason}`);
  };

  const decideName = (host: string, port: number): Verdict => {
    if (remoteClients && isLocalhost(host)) return decideAddress(LOOPBACK, port);
    const excluded = nameExclusionMap.find(host).find(({ values }) => somePermits(values, port));
    if (excluded !== undefined)
      return outside(`${formatNamePattern(excluded.pattern)} is excluded`);
    const named = decideNameTarget(nameTargetMap.find(host), port);
    if (named !== undefined) return named;
    if (isLocalhost(host)) return decideAddress(LOOPBACK, port);
    if (beyond === 'tunnel') return TUNNEL;
    return addressesDecide ? RESOLVE : outside(NO_TARGET);
  };

  return {
    decide: ({ host, port }) =>
      isAddress(host) ? decideAddress(host, port) : decideName(host, port),
  };
}

function decideNameTarget(
  matches: readonly NameMatch<readonly PortRange[]>[],
  port: number,
): Verdict | undefined {
  const first = matches[0];
  if (first === undefined) return undefined;
  if (matches.some(({ values }) => somePermits(values, port))) return TUNNEL;
  return wrongPort(
    port,
    formatNamePattern(first.pattern),
    matches.flatMap(({ values }) => values.flat()),
  );
}

type PortsCovering = Covering<readonly PortRange[]>;

/** The reason for a verdict if an exclusion applies. */
function excludedBy(narrowest: PortsCovering | undefined, port: number): string | undefined {
  for (let covering = narrowest; covering !== undefined; covering = covering.wider) {
    for (const ports of covering.values) {
      if (!permits(ports, port)) continue;
      const suffix = ports.length === 0 ? '' : ` for port ${formatPorts(ports)}`;
      return `${formatPrefix(covering.prefix)} is excluded${suffix}`;
    }
  }
  return undefined;
}

/** Returns undefined if no target contains the destination. */
function decideTarget(
  narrowest: PortsCovering | undefined,
  port: number,
  special: SpecialRange | undefined,
  proxied: boolean,
): Verdict | undefined {
  const limited: PortsCovering[] = [];
  for (let covering = narrowest; covering !== undefined; covering = covering.wider) {
    // If this target doesn't contain the special range, no wider one does.
    if (special !== undefined && !mayContain(covering.prefix, special, proxied)) break;
    if (somePermits(covering.values, port)) return TUNNEL;
    limited.push(covering);
  }
  const first = limited[0];
  if (first === undefined) return undefined;
  return wrongPort(
    port,
    formatPrefix(first.prefix),
    limited.flatMap(({ values }) => values.flat()),
  );
}

function wrongPort(port: number, target: string, ports: readonly PortRange[]): Verdict {
  return {
    kind: 'refuse',
    refusal: 'prohibited',
    why: `port ${port} is not among the ports of the target ${target} (${formatPorts(mergePorts(ports))})`,
  };
}

function somePermits(rules: readonly (readonly PortRange[])[], port: number): boolean {
  return rules.some((ports) => permits(ports, port));
}

/** An empty list means all ports. */
function permits(ports: readonly PortRange[], port: number): boolean {
  return ports.length === 0 || portsInclude(ports, port);
}

/** Whether a target may capture its part of a special range. */
function mayContain(target: Prefix, special: SpecialRange, proxied: boolean): boolean {
  return (special.onRequest || proxied) && prefixContains(special.prefix, target);
}

export interface CaptureRules extends Rules {
  /**
   * Each gets its own route, even inside a target. A resolver on the local network must be
   * captured, but the network's own route is more specific than a wide target and would win.
   */
  readonly single?: readonly Prefix[];
  /**
   * Captured although no target says so any more, and whatever is excluded: connections to them
   * live that began when they were targets (session/keptroutes.ts).
   */
  readonly kept?: readonly Prefix[];
  /** Don't throw if no prefix is left to capture. */
  readonly mayBeEmpty?: boolean;
}

/**
 * The prefixes to route into the tunnel: the targets, minus exclusions that aren't limited to
 * ports, minus `always` (what the tunnel connects to by sockets that aren't bound: it must not
 * capture its own connection), minus special ranges. Sorted, never /0, and merged except for
 * `single`. Throws UsageError if nothing is left (unless `mayBeEmpty`) or if more than
 * MAX_CAPTURED_PREFIXES are.
 */
export function capturedPrefixes({
  targets,
  exclusions,
  always,
  single = [],
  kept = [],
  mayBeEmpty = false,
}: CaptureRules & { readonly always: readonly Prefix[] }): Prefix[] {
  const requested: Prefix[] = [];
  const ordinary: Prefix[] = [];
  for (const { prefix } of targets) {
    (specialRangeOf(prefix)?.onRequest === true ? requested : ordinary).push(prefix);
  }
  const special = SPECIAL_RANGES.map((range) => range.prefix);
  const wanted = mergePrefixes([...requested, ...subtractPrefixes(ordinary, special)]);
  const excluded = exclusions.filter((rule) => rule.ports.length === 0).map((rule) => rule.prefix);
  const merged = subtractPrefixes(wanted, [...excluded, ...always]);
  // One at a time: neighbours would otherwise be merged, and lose to a more specific route to one
  // of them.
  const separate = single.flatMap((prefix) => subtractPrefixes([prefix], [...excluded, ...always]));
  const known = new Set(merged.map(formatPrefix));
  const asked = [...merged, ...separate.filter((prefix) => !known.has(formatPrefix(prefix)))];
  if (asked.length === 0 && !mayBeEmpty) throw nothingCaptured(wanted, excluded, always);
  const captured = [...asked, ...beyond(subtractPrefixes(kept, always), asked)].sort(
    comparePrefixes,
  );
  if (captured.length > MAX_CAPTURED_PREFIXES) {
    throw new UsageError(
      `the targets minus the exclusions make ${captured.length} routes, at most ${MAX_CAPTURED_PREFIXES} are installed`,
      { hint: 'use wider targets, or fewer and wider exclusions' },
    );
  }
  return captured;
}

/** Those of `prefixes` that are not inside one of `others`. */
function beyond(prefixes: readonly Prefix[], others: readonly Prefix[]): readonly Prefix[] {
  if (prefixes.length === 0) return [];
  const map = new PrefixMap(others.map((prefix) => [prefix, true] as const));
  return prefixes.filter((prefix) => {
    let covering = map.find(prefix.address);
    while (covering !== undefined && covering.prefix.length > prefix.length)
      covering = covering.wider;
    return covering === undefined;
  });
}

function nothingCaptured(
  wanted: readonly Prefix[],
  excluded: readonly Prefix[],
  always: readonly Prefix[],
): UsageError {
  if (wanted.length === 0) {
    return new UsageError(
      'nothing would be captured: the targets contain only addresses that are never captured',
      {
        hint: 'name targets outside the loopback, link-local and multicast ranges',
      },
    );
  }
  if (subtractPrefixes(wanted, excluded).length === 0) {
    return new UsageError('nothing would be captured: the exclusions cover all the targets', {
      hint: 'remove an exclusion (-x, -X), or add a target',
    });
  }
  const own = always.map(formatPrefix).join(', ');
  return new UsageError(
    `nothing would be captured: only the jump host's own addresses are left (${own})`,
    {
      hint: "connections to the jump host can't go through it; name the networks behind it as targets",
    },
  );
}
