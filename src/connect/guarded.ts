/**
 * The allow-list of a running tunnel: one guard for all its policies, and for everything that is
 * opened through the jump host.
 *
 *   Flows -> guard(policy)    connections of programs: decided before any lookup or dialling
 *         -> NameOrAddress ─┐ the form in which a flow is opened: its name or its address
 *   DNS, catalog           ─┴> guardedConnector -> link
 *
 * No other part has direct access to the link, so nothing is opened through the jump host unless a
 * rule permits it.
 */
import { type Connector, DeniedError } from '../flow/connector.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';
import type { Observer } from '../observe/observer.ts';
import { type AllowGuard, type AllowGuardOptions, createAllowGuard } from '../policy/allowlist.ts';
import type { Policy } from '../policy/policy.ts';

export function createGuard(
  { rules, dryRun }: Pick<AllowGuardOptions, 'rules' | 'dryRun'>,
  observer: Observer,
): AllowGuard {
  return createAllowGuard({ rules, dryRun, observer });
}

const THROUGH_THE_TUNNEL: Policy = { decide: () => ({ kind: 'tunnel' }) };

/** The allow-list has no rule for the destination. The jump host was not asked. */
export class NotAllowedError extends DeniedError {
  constructor(refusal: Refusal, destination: Destination, why: string) {
    const where = formatDestination(destination);
    super(refusal, `${where}: ${why}`, { hint: `add the rule ${where} to the file of --allow` });
    this.name = 'NotAllowedError';
  }
}

/**
 * The link, for all parts that open something through it. `connect` rejects with NotAllowedError if
 * no rule permits the destination. `namesOf`: the names that a resolver behind the jump host has
 * resolved to a canonical address.
 */
export function guardedConnector(
  link: Connector,
  guard: AllowGuard,
  namesOf: (address: string) => readonly string[],
): Connector {
  const policy = guard.guard(THROUGH_THE_TUNNEL, { namesOf });
  return {
    connect(destination, options) {
      if (!guard.active) return link.connect(destination, options);
      const verdict = policy.decide(destination);
      if (verdict.kind !== 'refuse') return link.connect(destination, options);
      return Promise.reject(new NotAllowedError(verdict.refusal, destination, verdict.why));
    },
  };
}
