/**
 * Names and addresses of one destination, as far as rules go.
 *
 * A policy for captures that see addresses only, where it is known for which names some of them
 * were answered: such an address is decided as its name would be, unless it is excluded itself.
 * Names go before addresses here as in policy.ts.
 *
 * And whether the other form of a destination may be opened: what was permitted under one form is
 * opened under another only if no rule forbids that one.
 */
import { isAddress } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { hostPrefix } from '../net/prefix.ts';
import { specialRangeOf } from '../net/special.ts';
import { createPolicy, type NameRule, type Policy, type Rule, type Rules } from './policy.ts';

/** The name by which a destination is carried; undefined: no name target holds it. */
export type TargetName = (destination: Destination) => string | undefined;

export interface NameRules {
  readonly exclusions: readonly Rule[];
  readonly nameTargets: readonly NameRule[];
  readonly nameExclusions: readonly NameRule[];
}

/** `namesOf`: the names of a canonical address, the likeliest first. */
export function createTargetName(
  { exclusions, nameTargets, nameExclusions }: NameRules,
  namesOf: (address: string) => readonly string[],
): TargetName {
  const names = createPolicy({ targets: [], exclusions: [], nameTargets, nameExclusions });
  const addresses = createPolicy({ targets: [], exclusions }, { beyond: 'tunnel' });
  return (destination) => {
    const { host, port } = destination;
    if (isAddress(host) && addresses.decide(destination).kind !== 'tunnel') return undefined;
    const candidates = isAddress(host) ? namesOf(host) : [host];
    return candidates.find((name) => names.decide({ host: name, port }).kind === 'tunnel');
  };
}

/**
 * Whether a destination may be opened through the tunnel because it is another form of one that
 * may. Not where it is excluded, or a target for other ports only; and no special address that
 * isn't a target: otherwise whoever answers for a name could lead a connection to the jump host's
 * own services.
 */
export function createFormRule(rules: Rules): (destination: Destination) => boolean {
  const everything = createPolicy(rules, { beyond: 'tunnel', proxied: true });
  const targets = createPolicy(rules, { beyond: 'refuse', proxied: true });
  return (destination) => {
    const { host } = destination;
    const special = isAddress(host) && specialRangeOf(hostPrefix(host)) !== undefined;
    return (special ? targets : everything).decide(destination).kind === 'tunnel';
  };
}

/** `policy`, but for addresses that stand for a name target. */
export function byKnownNames(policy: Policy, targetName: TargetName): Policy {
  return {
    decide: (destination) =>
      isAddress(destination.host) && targetName(destination) !== undefined
        ? { kind: 'tunnel' }
        : policy.decide(destination),
  };
}
