/**
 * The SSH connection must never follow the tunnel's own routes, or the tunnel would carry itself.
 * So its socket is bound to a device (SO_BINDTODEVICE). The kernel then looks only at the routes by
 * that device, however narrow the captured ones are.
 */
import { TunnelError } from '../../errors/errors.ts';
import { formatDestination } from '../../net/destination.ts';
import type { RemoteAddress } from './addresses.ts';

/**
 * The device that the connection to an address is to be bound to. Null: no device leads there
 * except the tunnel's own. Undefined: it is not to be bound, because nothing captures the address.
 */
export type DialDevice = (address: RemoteAddress) => string | null | undefined;

export function noWayError(address: RemoteAddress): TunnelError {
  return new TunnelError(
    'jumphost-unreachable',
    `${formatDestination(address)} can't be reached (ENETUNREACH)`,
    { hint: "check this machine's network and its route to the jump host" },
  );
}
