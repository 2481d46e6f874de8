/**
 * The routes that --fail-closed leaves behind: `unreachable PREFIX proto 116` beside each of the
 * tunnel's own routes, with a worse metric. While the device is there its routes win. When it goes
 * away, for whatever reason, the kernel refuses what was captured.
 *
 * The kernel's table is their journal: such a route is left over if no device of a tunnel has a
 * route that contains it. The helper makes and removes them (native/helper/unreachable.h).
 */
import type { Family } from '../../net/address.ts';
import {
  formatPrefix,
  hostPrefix,
  type Prefix,
  prefixContains,
  type RoutedPrefix,
} from '../../net/prefix.ts';
import { subtractPrefixes } from '../../net/prefixset.ts';
import type { KernelRouting } from './kernel.ts';
import { type KernelRoute, PROTOCOL, ROUTE_TYPE, TABLE } from './rtnetlink.ts';

const FAMILIES: readonly Family[] = [4, 6];

/** Whether a route is one that --fail-closed has made, of whatever tunnel. */
export function isFailClosed({ protocol, type }: KernelRoute): boolean {
  return protocol === PROTOCOL.tunnel && type === ROUTE_TYPE.unreachable;
}

/**
 * What tunnels that are gone have left unreachable, each prefix once: some have two such routes,
 * with different metrics. Throws what `routing` throws.
 */
export function leftUnreachable(routing: Pick<KernelRouting, 'routes'>): Prefix[] {
  const left = FAMILIES.flatMap((family) => {
    const made = routing
      .routes(family)
      .filter(({ protocol, table }) => protocol === PROTOCOL.tunnel && table === TABLE.main);
    const live = made.filter((route) => !isFailClosed(route));
    return made
      .filter(isFailClosed)
      .map(({ destination }) => destination)
      .filter((prefix) => !live.some(({ destination }) => prefixContains(destination, prefix)));
  });
  return [...new Map(left.map((prefix) => [formatPrefix(prefix), prefix])).values()];
}

/**
 * What is to be unreachable once the device has gone: all that is routed to it, except addresses
 * that the tunnel itself reaches `past` it. For these the kernel must not come to such a route
 * first: for IPv4 it refuses there even sockets that are bound to another device. Where somebody
 * else has a route to exactly one of the parts around such an address, that route stays.
 */
export function prefixesToClose(
  routed: readonly RoutedPrefix[],
  past: readonly string[],
  routing: Pick<KernelRouting, 'routes'>,
): RoutedPrefix[] {
  const others = FAMILIES.flatMap((family) => othersRoutes(family, routing));
  const taken = new Set(others.map(formatPrefix));
  const open = past.map((address) => openAddress(address, others));
  const closed = new Map<string, RoutedPrefix>();
  for (const prefix of routed) {
    const inside = open
      .filter(({ host, within }) => prefix.length >= within && prefixContains(prefix, host))
      .map(({ host }) => host);
    // One at a time: what overrides another route must not be merged with its neighbour.
    const parts =
      inside.length === 0
        ? [prefix]
        : subtractPrefixes([prefix], inside).filter((part) => !taken.has(formatPrefix(part)));
    for (const part of parts) closed.set(formatPrefix(part), part);
  }
  return [...closed.values()];
}

/**
 * `within`: the length of the route that leads to it without the tunnel. Wider prefixes of the
 * tunnel's are no obstacle, and cutting the address out of them would cut off its neighbours.
 */
function openAddress(
  address: string,
  others: readonly Prefix[],
): { readonly host: Prefix; readonly within: number } {
  const host = hostPrefix(address);
  const lengths = others
    .filter((prefix) => prefixContains(prefix, host))
    .map(({ length }) => length);
  return { host, within: Math.max(0, ...lengths) };
}

/** What no tunnel has routed. */
function othersRoutes(family: Family, routing: Pick<KernelRouting, 'routes'>): Prefix[] {
  return routing
    .routes(family)
    .filter(
      ({ protocol, table, type }) =>
        table === TABLE.main && protocol !== PROTOCOL.tunnel && type === ROUTE_TYPE.unicast,
    )
    .map(({ destination }) => destination);
}
