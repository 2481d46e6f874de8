/**
 * What happens with a connection: a pure function of what the user asked for. Nothing here waits,
 * resolves or remembers.
 *
 *   targets, exclusions  --createPolicy-->      decide({host, port}) -> verdict, each time
 *                        --capturedPrefixes-->  the prefixes that are routed, once
 *
 * The rules, the first that applies:
 *
 *   1. excluded for all ports, or for this port       -> direct
 *   2. inside a target without ports, or with this    -> tunnel
 *   3. inside targets with other ports only           -> refuse (prohibited)
 *   4. anything else                                  -> `beyond`: direct, unless a proxy was asked
 *                                                     for otherwise
 *
 * An exclusion wins however narrow the target is. A special range (net/special.ts) is left out of
 * every target that is wider than it; a target that lies inside one counts only where the range may
 * be captured on request, or for a proxy, which is told its destinations and needs no route.
 *
 * A name (a proxy's clients may send one) is decided by the rules that are names; each of them goes
 * before all that are addresses. If none applies and targets are addresses, the verdict is
 * `resolve`: whoever asked resolves the name and asks again for each address. With `beyond: tunnel`
 * names are not resolved on this machine at all.
 *
 * `capturedPrefixes` is the same reading of the targets as routes: a prefix is captured when some
 * port of its addresses may have to be tunnelled or refused. So a connection that rule 1 makes
 * direct because of its port arrives all the same. No default route can come out, because special
 * ranges are cut out of 0/0 and ::/0: what is left are longer prefixes, which win over the
 * machine's own default route and can stand beside it.
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

/**
 * More routes than this are not installed; the helper has the same limit
 * (native/helper/protocol.h).
 */
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
 * What becomes of a destination that no target holds. `refuse` also is for what is excluded from
 * the targets.
 */
export type Beyond = 'direct' | 'tunnel' | 'refuse';

export interface PolicyOptions {
  /** Default: direct. */
  readonly beyond?: Beyond;
  /** The destinations come from a proxy's clients: a target inside any special range counts. */
  readonly proxied?: boolean;
  /**
   * Clients on other machines ask: this machine's own and link-local addresses are not dialled for
   * them.
   */
  readonly remoteClients?: boolean;
}

export type Verdict =
  | { readonly kind: 'tunnel' }
  /** `why` completes "goes directly: ..." */
  | { readonly kind: 'direct'; readonly why: string }
  /** `why` completes "refused: ..." */
  | { readonly kind: 'refuse'; readonly refusal: Refusal; readonly why: string }
  /** It is a name, and its addresses decide. Never for an address. */
  | { readonly kind: 'resolve' };

export interface Policy {
  /**
   * Takes a canonical address or a name, as `Destination` promises. Synchronous, logarithmic in the
   * number of rules.
   */
  decide(destination: Destination): Verdict;
}

const TUNNEL: Verdict = { kind: 'tunnel' };
const RESOLVE: Verdict = { kind: 'resolve' };
const NO_TARGET = 'no target holds it';
/**
 * Stands for all that `localhost` may mean: both families' loopback addresses are decided alike.
 */
const LOOPBACK = '127.0.0.1';

export function createPolicy(rules: Rules, options: PolicyOptions = {}): Policy {
  const { targets, exclusions, nameTargets = [], nameExclusions = [] } = rules;
  const { beyond = 'direct', proxied = false, remoteClients = false } = options;
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

  const decideAddress = (host: string, port: number): Verdict => {
    const excluded = excludedBy(exclusionMap.find(host), port);
    if (excluded !== undefined) return outside(excluded);
    const covering = targetMap.find(host);
    if (covering === undefined && beyond === 'tunnel') return TUNNEL;
    const range = specialMap.find(host)?.values[0];
    const verdict = decideTarget(covering, port, range, proxied);
    if (verdict !== undefined) return verdict;
    if (beyond === 'tunnel') return TUNNEL;
    if (range === undefined) return outside(NO_TARGET);
    const why = `it is ${range.reason}`;
    return remoteClients ? { kind: 'refuse', refusal: 'prohibited', why } : outside(why);
  };

  const decideName = (host: string, port: number): Verdict => {
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

/** The exclusion that holds it, as the reason of a verdict. */
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

/** undefined: no target holds it. */
function decideTarget(
  narrowest: PortsCovering | undefined,
  port: number,
  special: SpecialRange | undefined,
  proxied: boolean,
): Verdict | undefined {
  const limited: PortsCovering[] = [];
  for (let covering = narrowest; covering !== undefined; covering = covering.wider) {
    // Wider ones hold it even less.
    if (special !== undefined && !mayHold(covering.prefix, special, proxied)) break;
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

/** No ports stands for all of them. */
function permits(ports: readonly PortRange[], port: number): boolean {
  return ports.length === 0 || portsInclude(ports, port);
}

/** Whether a target may capture its part of a special range. */
function mayHold(target: Prefix, special: SpecialRange, proxied: boolean): boolean {
  return (special.onRequest || proxied) && prefixContains(special.prefix, target);
}

export interface CaptureRules extends Rules {
  /**
   * Each is routed by itself, also where a target holds it: a resolver on the local network has to
   * be captured although the network's own route, more specific than a wide target, would win.
   */
  readonly single?: readonly Prefix[];
  /** `single` and what else is captured may be enough. */
  readonly mayBeEmpty?: boolean;
}

/**
 * The prefixes to route into the tunnel: targets, minus exclusions that aren't limited to ports,
 * minus `always` (the jump host's own addresses, or the tunnel would swallow its own connection),
 * minus special ranges. Sorted, merged but for `single`, never /0. Throws UsageError when nothing
 * is left, unless `mayBeEmpty`, or more than MAX_CAPTURED_PREFIXES.
 */
export function capturedPrefixes({
  targets,
  exclusions,
  always,
  single = [],
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
  // One after the other: together, neighbours would be merged, and lose to a route to one of them
  // alone.
  const apart = single.flatMap((prefix) => subtractPrefixes([prefix], [...excluded, ...always]));
  const known = new Set(merged.map(formatPrefix));
  const captured = [...merged, ...apart.filter((prefix) => !known.has(formatPrefix(prefix)))].sort(
    comparePrefixes,
  );
  if (captured.length === 0 && !mayBeEmpty) throw nothingLeft(wanted, excluded, always);
  if (captured.length > MAX_CAPTURED_PREFIXES) {
    throw new UsageError(
      `the targets minus the exclusions make ${captured.length} routes, at most ${MAX_CAPTURED_PREFIXES} are installed`,
      { hint: 'use wider targets, or fewer and wider exclusions' },
    );
  }
  return captured;
}

function nothingLeft(
  wanted: readonly Prefix[],
  excluded: readonly Prefix[],
  always: readonly Prefix[],
): UsageError {
  if (wanted.length === 0) {
    return new UsageError(
      'nothing would be captured: the targets hold only addresses that are never captured',
      {
        hint: 'name targets outside the loopback, link-local and multicast ranges',
      },
    );
  }
  if (subtractPrefixes(wanted, excluded).length === 0) {
    return new UsageError('nothing would be captured: the exclusions hold all the targets', {
      hint: 'remove an exclusion (-x, -X), or add a target',
    });
  }
  const own = always.map(formatPrefix).join(', ');
  return new UsageError(
    `nothing would be captured: only the jump host's own addresses are left (${own})`,
    {
      hint: "connections to the jump host can't go through itself; name the networks behind it as targets",
    },
  );
}
