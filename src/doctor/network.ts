/**
 * What may keep a capture from working although it has started: the cheap part of `tunnel doctor`,
 * which `tunnel connect` also runs by itself.
 */
import { isLinux } from '../base/platform.ts';
import type { PortRange } from '../net/ports.ts';
import type { Prefix } from '../net/prefix.ts';
import { subtractPrefixes } from '../net/prefixset.ts';
import { lookAtClock } from '../system/doctor/clock.ts';
import type { Finding } from '../system/doctor/diagnosis.ts';
import { type ListRuleset, lookAtFirewall } from '../system/doctor/firewall.ts';
import { lookAtIPv6, lookAtMtu, lookAtResolver, lookAtRoutes } from '../system/doctor/routing.ts';
import { lookAtRules } from '../system/doctor/rules.ts';

interface Range {
  readonly prefix: Prefix;
  readonly ports: readonly PortRange[];
}

export interface NetworkTargets {
  readonly targets: readonly Range[];
  readonly exclusions: readonly Range[];
}

export interface NetworkContext {
  /** The address that is dialled. undefined: not known. */
  readonly jumpHost?: string | undefined;
  /** The device of the tunnel that runs. undefined: none does. */
  readonly device?: string | undefined;
  /** The tunnel answers queries, so its targets may contain resolvers. */
  readonly answersQueries?: boolean | undefined;
  /** Who reads the firewall's rules, where this process may not. */
  readonly listRuleset?: ListRuleset | undefined;
}

/** Changes nothing, and sends nothing. On other systems than Linux nothing is captured. */
export function lookAtNetwork(
  { targets, exclusions }: NetworkTargets,
  { jumpHost, device, answersQueries = false, listRuleset }: NetworkContext = {},
): Promise<Finding[]> {
  if (!isLinux()) return Promise.all([lookAtClock()]);
  const prefixes = targets.map(({ prefix }) => prefix);
  const left = exclusions.filter(({ ports }) => ports.length === 0).map(({ prefix }) => prefix);
  return Promise.all([
    // A tunnel that runs asks the kernel itself what its routes are worth.
    ...(device === undefined
      ? [lookAtRoutes(prefixes, { exclusions: left }), lookAtRules(prefixes)]
      : []),
    lookAtFirewall(targets, listRuleset),
    lookAtResolver(answersQueries ? [] : subtractPrefixes(prefixes, left)),
    lookAtIPv6(prefixes, left),
    ...(jumpHost === undefined ? [] : [lookAtMtu(jumpHost)]),
    lookAtClock(),
  ]);
}
