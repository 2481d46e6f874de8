/**
 * The allow-list of a running tunnel: one guard for all its policies, and for all that the jump
 * host is asked for.
 *
 *   Flows -> guard(policy)   connections of programs, answered before anything is looked up or
 *                            dialled
 *         -> Forms        ─┐ the form in which one is opened: its name or its address
 *   DNS, catalog          ─┴> guardedConnector -> link
 *
 * Nothing has the link itself, so nothing at all is opened through the jump host that no rule
 * permits.
 */
import type { AllowOptions } from '../config/configuration.ts';
import { ConnectError, type Connector } from '../flow/connector.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';
import type { Observer } from '../observe/observer.ts';
import { type AllowGuard, createAllowGuard } from '../policy/allowlist.ts';
import type { Policy } from '../policy/policy.ts';

export function createGuard({ rules, dryRun }: AllowOptions, observer: Observer): AllowGuard {
  return createAllowGuard({ rules, dryRun, observer });
}

const THROUGH_THE_TUNNEL: Policy = { decide: () => ({ kind: 'tunnel' }) };

/** The list has no rule for it: the jump host has not been asked. */
export class NotAllowedError extends ConnectError {
  constructor(refusal: Refusal, destination: Destination, why: string) {
    const where = formatDestination(destination);
    super(refusal, `${where}: ${why}`, { hint: `add the rule ${where} to the file of --allow` });
    this.name = 'NotAllowedError';
  }
}

/**
 * The link for whoever opens something through it. Rejects with NotAllowedError where no rule
 * permits that. `namesOf`: the names for which a resolver behind the jump host has answered a
 * canonical address.
 */
export function guardedConnector(
  link: Connector,
  guard: AllowGuard,
  namesOf: (address: string) => readonly string[],
): Connector {
  if (!guard.active) return link;
  const policy = guard.guard(THROUGH_THE_TUNNEL, { namesOf });
  return {
    async connect(destination, options) {
      const verdict = policy.decide(destination);
      if (verdict.kind !== 'refuse') return link.connect(destination, options);
      throw new NotAllowedError(verdict.refusal, destination, verdict.why);
    },
  };
}
