/**
 * A look at the kernel's routes before the login. Who types a code for it should not be told only
 * then that another tunnel captures the same. The helper decides: it also knows of ranges that
 * overlap in part, of shared addresses, and of a tunnel that has begun meanwhile.
 */
import { ADDRESS_BITS } from '../net/address.ts';
import { formatPrefix, type Prefix } from '../net/prefix.ts';
import { capturedByAnother } from '../system/helper/errors.ts';
import type { KernelRouting } from '../system/routing/kernel.ts';
import { type KernelRoute, PROTOCOL, ROUTE_TYPE, TABLE } from '../system/routing/rtnetlink.ts';

/** Throws TunnelError `already-running` if a tunnel's device has a route to one of the networks. */
export function refuseCaptured(
  prefixes: readonly Prefix[],
  routing: Pick<KernelRouting, 'routes' | 'deviceName'>,
): void {
  const wanted = new Map(
    prefixes.filter((prefix) => !isHost(prefix)).map((prefix) => [formatPrefix(prefix), prefix]),
  );
  if (wanted.size === 0) return;
  for (const route of routesOf(routing)) {
    const text = formatPrefix(route.destination);
    if (wanted.has(text))
      throw capturedByAnother(text, routing.deviceName(route.device) ?? 'a device');
  }
}

/** Tunnels share the addresses of resolvers. */
function isHost({ family, length }: Prefix): boolean {
  return length === ADDRESS_BITS[family];
}

function routesOf(routing: Pick<KernelRouting, 'routes'>): readonly KernelRoute[] {
  try {
    return ([4, 6] as const)
      .flatMap((family) => routing.routes(family))
      .filter(
        ({ protocol, table, type }) =>
          protocol === PROTOCOL.tunnel && table === TABLE.main && type === ROUTE_TYPE.unicast,
      );
  } catch {
    return []; // the helper tells what is wrong with the tables
  }
}
