/**
 * The policy of `tunnel exec`. Targets work as for every capture. Everything else goes to the
 * caller's own network, or nowhere.
 *
 *   a resolver of resolv.conf inside, port 53   -> direct, to the host's resolver that it
 *                                               represents
 *   a resolver that was read in the host's      -> direct
 *   resolv.conf, port 53
 *   a destination inside the targets            -> tunnel (TCP), refused (UDP: SSH carries none)
 *   everything else                             -> direct; with `isolate`: refused as prohibited
 *
 * With `isolate`, resolvers count as "everything else": a query would leave the machine outside the
 * tunnel. Pure.
 */
import type { Destination } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';
import type { Policy, Verdict } from './policy.ts';

const DNS_PORT = 53;

export interface ExecPolicyOptions {
  readonly targets: Policy;
  /** Everything outside the tunnel is refused. */
  readonly isolate: boolean;
  /**
   * Maps each resolver's address as the command sees it to the host's resolver that it represents.
   */
  readonly resolvers: ReadonlyMap<string, string>;
  /** The host's resolvers that the command may ask at their own addresses. Default: none. */
  readonly read?: ReadonlySet<string>;
}

/** What happens to a datagram. `to` is where it is really sent. */
export type DatagramVerdict =
  | { readonly kind: 'direct'; readonly to: Destination }
  | { readonly kind: 'refuse'; readonly refusal: Refusal; readonly why: string };

const ISOLATED: Verdict & { kind: 'refuse' } = {
  kind: 'refuse',
  refusal: 'prohibited',
  why: 'no target contains it, and --isolate is given',
};

export class ExecPolicy implements Policy {
  readonly #options: ExecPolicyOptions;

  constructor(options: ExecPolicyOptions) {
    this.#options = options;
  }

  decide(destination: Destination): Verdict {
    const { targets, isolate, resolvers, read } = this.#options;
    const { host, port } = destination;
    let verdict: Verdict;
    if (port === DNS_PORT && (resolvers.has(host) || read?.has(host)))
      verdict = { kind: 'direct', why: "it is the host's resolver" };
    else if (!resolvers.has(host)) verdict = targets.decide(destination);
    else
      verdict = { kind: 'refuse', refusal: 'refused', why: 'only DNS queries are accepted there' };
    return verdict.kind === 'direct' && isolate ? ISOLATED : verdict;
  }

  /** The same for a datagram. */
  decideDatagram(destination: Destination): DatagramVerdict {
    const verdict = this.decide(destination);
    if (verdict.kind === 'direct') return { kind: 'direct', to: this.actual(destination) };
    if (verdict.kind === 'refuse') return verdict;
    // Refused at once, so that QUIC falls back to TCP.
    return { kind: 'refuse', refusal: 'refused', why: 'UDP is not carried through the tunnel' };
  }

  /** Where a direct connection really goes. */
  actual(destination: Destination): Destination {
    const host = this.#options.resolvers.get(destination.host);
    return host === undefined ? destination : { ...destination, host };
  }
}
