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

  #addresses: readonly string[] = [];
  #follow: () => Promise<void> = () => Promise.resolve();

  /** Those to be dialled now. Canonical. */
  get addresses(): readonly string[] {
    return this.#addresses;
  }

  /** `changed`: called, and waited for, before other addresses are dialled. It never rejects. */
  follow(changed: () => Promise<void>): void {
    this.#follow = changed;
  }

  /** These are about to be dialled. Hosts are canonical addresses. */
  dialling(servers: readonly Destination[]): Promise<void> {
    const all = [...this.#settled, ...servers];
    this.#known = new Set(all.map(formatDestination));
    const before = this.#addresses.join();
    this.#addresses = [...new Set(all.map(({ host }) => host))].filter(isAddress).sort();
    return this.#addresses.join() === before ? Promise.resolve() : this.#follow();
  }

  /** A link to one of these is up. */
  dialled(servers: readonly Destination[]): Promise<void> {
    this.#settled = servers;
    return this.dialling(servers);
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
