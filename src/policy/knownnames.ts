/**
 * Rules for the names and addresses of the same destination.
 *
 * A policy for captures that see only addresses. If an address is known to be the answer for a
 * name, it gets the verdict of that name, unless the address itself is excluded. Names come before
 * addresses here, as in policy.ts.
 *
 * Also whether another form of a destination may be opened: a destination permitted in one form is
 * opened in another only if no rule forbids that other form.
 */
import { isAddress } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { hostPrefix } from '../net/prefix.ts';
import { specialRangeOf } from '../net/special.ts';
import { createPolicy, type NameRule, type Policy, type Rule, type Rules } from './policy.ts';

/** The name that a destination is carried by. Undefined: no name target covers it. */
export type TargetName = (destination: Destination) => string | undefined;

export interface NameRules {
  readonly exclusions: readonly Rule[];
  readonly nameTargets: readonly NameRule[];
  readonly nameExclusions: readonly NameRule[];
}

/** `namesOf`: the names of a canonical address, the most likely first. */
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
 * Whether a destination may be opened through the tunnel as another form of a permitted one. Not if
 * it is excluded, if it is a target for other ports only, or if it is a special address and no
 * target. Otherwise the server that answers for a name could direct a connection to the jump host's
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

/** `policy`, except that addresses of a name target go through the tunnel. */
export function byKnownNames(policy: Policy, targetName: TargetName): Policy {
  return {
    decide: (destination) =>
      isAddress(destination.host) && targetName(destination) !== undefined
        ? { kind: 'tunnel' }
        : policy.decide(destination),
  };
}
