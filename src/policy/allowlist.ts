/**
 * The allow-list: which of the connections that the policy would open may be opened. It is checked
 * before the transport, so a denied connection never becomes a request to the jump host.
 *
 *   policy.decide() -> tunnel --> a rule permits it?  yes -> tunnel
 *                                                     no  -> refuse (prohibited), logged by
 *                                                            denials.ts once a minute
 *                   -> direct --> unchanged, or checked in the same way (option `direct`, for
 *                                 `tunnel exec`)
 *                   -> anything else: unchanged
 *
 * With --dry-run nothing is denied: learned.ts records the destinations, and at the end prints
 * rules that would permit the same run.
 *
 * Without these two options nothing is looked up. A reload may replace the list, and give or take
 * one. A rule by name applies to connections that are carried by name, and to addresses whose names
 * the caller knows (`namesOf`). For any other address only the rules by address apply.
 */
import { isAddress } from '../net/address.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import { NameMap } from '../net/namemap.ts';
import { type PortRange, portsInclude } from '../net/ports.ts';
import { PrefixMap } from '../net/prefixmap.ts';
import type { Observer } from '../observe/observer.ts';
import { DenialLog } from './denials.ts';
import { LearnedDestinations } from './learned.ts';
import type { NameRule, Policy, Rule, Verdict } from './policy.ts';

/** config's `AllowRules` is one. An empty list of ports means all ports. */
export interface AllowListRules {
  readonly prefixes: readonly Rule[];
  readonly names: readonly NameRule[];
}

export interface AllowList {
  /** Takes a canonical address or name. */
  permits(destination: Destination): boolean;
}

export interface AllowGuardOptions {
  /** undefined: no list. */
  readonly rules: AllowListRules | undefined;
  readonly dryRun: boolean;
  readonly observer: Observer;
  /** Milliseconds of a monotonic clock. For tests. */
  readonly now?: () => number;
}

export interface GuardOptions {
  /** Direct connections need a rule as well. Default: false. */
  readonly direct?: boolean;
  /**
   * The names that a canonical address is known by, the most likely first. A rule for one of them
   * permits the address. Which names can be trusted depends on the way that the connection would
   * take. Default: none.
   */
  readonly namesOf?: (address: string, way: 'tunnel' | 'direct') => readonly string[];
}

export interface AllowGuard {
  /** Whether there is a list now, or one is being learned. */
  readonly active: boolean;
  /** Replaces the list, for all policies that it guards already. Undefined: there is none. */
  setRules(rules: AllowListRules | undefined): void;
  /**
   * The policy, with the list checked after it. All policies of a run share the log and the learned
   * list.
   */
  guard(policy: Policy, options?: GuardOptions): Policy;
  /** Whether a destination may be opened in exactly this form. Neither logged nor learned. */
  permits(destination: Destination): boolean;
  /** The allow-list that the run would have needed so far; undefined without --dry-run. */
  learned(): string | undefined;
}

export function createAllowList({ prefixes, names }: AllowListRules): AllowList {
  const prefixMap = new PrefixMap(prefixes.map(({ prefix, ports }) => [prefix, ports] as const));
  const nameMap = new NameMap(names.map(({ pattern, ports }) => [pattern, ports] as const));
  return {
    permits({ host, port }) {
      if (!isAddress(host))
        return nameMap.find(host).some(({ values }) => somePermits(values, port));
      for (let covering = prefixMap.find(host); covering !== undefined; covering = covering.wider) {
        if (somePermits(covering.values, port)) return true;
      }
      return false;
    },
  };
}

function somePermits(rules: readonly (readonly PortRange[])[], port: number): boolean {
  return rules.some((ports) => ports.length === 0 || portsInclude(ports, port));
}

export function createAllowGuard({
  rules,
  dryRun,
  observer,
  now = () => performance.now(),
}: AllowGuardOptions): AllowGuard {
  const listOf = (wanted: AllowListRules | undefined) => wanted && createAllowList(wanted);
  let list = listOf(rules);
  const learned = dryRun ? new LearnedDestinations(observer) : undefined;
  const denials = new DenialLog({ observer, now });
  const isActive = () => list !== undefined || learned !== undefined;

  const decide = (
    destination: Destination,
    verdict: Verdict,
    { direct = false, namesOf = () => [] }: GuardOptions,
  ): Verdict => {
    const { kind } = verdict;
    if (kind !== 'tunnel' && !(kind === 'direct' && direct)) return verdict;
    const { host, port } = destination;
    const named = (isAddress(host) ? namesOf(host, kind) : []).map((name) => ({
      host: name,
      port,
    }));
    const rulesNow = list;
    const permitted =
      rulesNow === undefined || [destination, ...named].some((form) => rulesNow.permits(form));
    // A rule for a direct connection uses the name, which outlives its addresses. A rule for the
    // tunnel uses the form that the jump host is asked for.
    const [rule = destination] = kind === 'direct' ? named : [];
    if (learned !== undefined) {
      learned.add(rule, permitted);
      return verdict;
    }
    if (permitted) return verdict;
    denials.add(destination, rule);
    const why = `the allow-list has no rule for ${formatDestination(destination)}`;
    return { kind: 'refuse', refusal: 'prohibited', why };
  };

  return {
    get active() {
      return isActive();
    },
    setRules(wanted) {
      list = listOf(wanted);
    },
    guard(policy, options = {}) {
      return {
        decide(destination) {
          const verdict = policy.decide(destination);
          return isActive() ? decide(destination, verdict, options) : verdict;
        },
      };
    },
    permits: (destination) =>
      list === undefined || learned !== undefined || list.permits(destination),
    learned: () => learned?.format(),
  };
}
