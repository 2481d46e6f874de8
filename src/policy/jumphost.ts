/**
 * Connections to the SSH servers that this tunnel itself dials, of other programs: a second ssh, or
 * a ProxyCommand of the tunnel's own ssh. They are captured like the rest of a target, but go past
 * the tunnel: they must work while it has no link, and many servers can't reach themselves at the
 * address by which others reach them.
 *
 *   new addresses --dialling--> these and the old ones --(dialled)--dialled--> only the new ones
 */
import { isAddress } from '../net/address.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Policy, Verdict } from './policy.ts';

const DIRECT: Verdict = { kind: 'direct', why: 'the tunnel itself connects to this SSH server' };

export class JumpHostServers {
  #known = new Set<string>();
  #settled: readonly Destination[] = [];

  /** These are about to be dialled. Hosts are canonical addresses. */
  dialling(servers: readonly Destination[]): void {
    this.#known = new Set([...this.#settled, ...servers].map(formatDestination));
  }

  /** A link to one of these is up. */
  dialled(servers: readonly Destination[]): void {
    this.#settled = servers;
    this.dialling(servers);
  }

  contains(destination: Destination): boolean {
    return isAddress(destination.host) && this.#known.has(formatDestination(destination));
  }
}

/** `policy`, with connections to these servers past the tunnel. */
export function besideJumpHost(policy: Policy, servers: Pick<JumpHostServers, 'contains'>): Policy {
  return {
    decide(destination) {
      const verdict = policy.decide(destination);
      return verdict.kind !== 'direct' && servers.contains(destination) ? DIRECT : verdict;
    },
  };
}
