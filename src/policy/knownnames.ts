/**
 * A policy for captures that see addresses only, where it is known for which names some of them were answered: such an address
 * is decided as its name would be. Names go before addresses here as in policy.ts.
 */
import { isAddress } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { createPolicy, type NameRule, type Policy } from './policy.ts';

/** The name by which a destination is carried; undefined: no name target holds it. */
export type TargetName = (destination: Destination) => string | undefined;

export interface NameRules {
  readonly nameTargets: readonly NameRule[];
  readonly nameExclusions: readonly NameRule[];
}

/** `namesOf`: the names of a canonical address, the likeliest first. */
export function createTargetName(
  { nameTargets, nameExclusions }: NameRules,
  namesOf: (address: string) => readonly string[],
): TargetName {
  const names = createPolicy({ targets: [], exclusions: [], nameTargets, nameExclusions });
  return ({ host, port }) => {
    const candidates = isAddress(host) ? namesOf(host) : [host];
    return candidates.find((name) => names.decide({ host: name, port }).kind === 'tunnel');
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
