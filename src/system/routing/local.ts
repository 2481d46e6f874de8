/**
 * What of the captured prefixes gets no route of the tunnel's, so that a network that this machine
 * is connected to stays local.
 *
 * A target that contains the network needs nothing: the network's own route is narrower. But what
 * is left of a target when something is cut out of it, by -x or for a ProxyCommand, may be narrower
 * than that: it would take the neighbours. A target that is the network has the same prefix, to
 * which there can be only one route.
 *
 *   captured prefix                                              its route
 *   not within a connected network                               the tunnel's
 *   exactly a connected network                                  the kernel's; with `captureLocal`
 *                                                                its halves are overridden
 *                                                                (overrides.ts)
 *   inside one, of a target or a resolver that is inside it      the tunnel's: it was asked for
 *   inside one, of a wider target                                the kernel's; with `captureLocal`
 *                                                                the tunnel's
 */
import type { Prefix } from '../../net/prefix.ts';
import { PrefixMap } from '../../net/prefixmap.ts';

export interface LocalRules {
  /** That this machine is connected to. */
  readonly networks: readonly Prefix[];
  /** What was asked for, before anything was left out of it. */
  readonly requested: readonly Prefix[];
  readonly captureLocal: boolean;
}

/** The captured prefixes that are left to the kernel's own routes. */
export function keptLocal(
  captured: readonly Prefix[],
  { networks, requested, captureLocal }: LocalRules,
): readonly Prefix[] {
  const local = mapOf(networks);
  const asked = mapOf(requested);
  return captured.filter((prefix) => {
    const network = narrowestAround(local, prefix);
    if (network === undefined) return false;
    if (network.length === prefix.length) return true;
    const wanted = narrowestAround(asked, prefix);
    return !captureLocal && (wanted === undefined || wanted.length <= network.length);
  });
}

function mapOf(prefixes: readonly Prefix[]): PrefixMap<true> {
  return new PrefixMap(prefixes.map((prefix) => [prefix, true] as const));
}

function narrowestAround(map: PrefixMap<true>, prefix: Prefix): Prefix | undefined {
  let covering = map.find(prefix.address);
  while (covering !== undefined && covering.prefix.length > prefix.length)
    covering = covering.wider;
  return covering?.prefix;
}
