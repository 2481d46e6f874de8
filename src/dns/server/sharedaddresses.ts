/**
 * The addresses of DNS servers that don't belong to one tunnel's names alone.
 *
 *   shared  what a rewritten resolv.conf names (system/resolver/file.ts). Every tunnel with names
 *           routes it to its device, each with a metric of its own, and the kernel takes one of
 *           these routes. When that device goes, even by kill -9, it takes the next one.
 *   peer    where a tunnel answers other tunnels: about its own names only, so that no query
 *           goes in a circle
 */
import { addressBytes, addressFromBytes } from '../../net/address.ts';
import { hostPrefix, type RoutedPrefix } from '../../net/prefix.ts';

/** In the block of the 64th device (native/helper/block.h). */
const SHARED4 = '198.18.63.53';
const SHARED6 = '2001:2:0:3f::35';
/** Last octet in the device's own blocks, beside that of the DNS server. */
const PEER_OCTET = 54;

/** Of a tunnel's device. */
interface OwnAddresses {
  readonly address4: string | undefined;
  readonly address6: string | undefined;
}

/** Of the families that `servers` have. */
export function sharedDnsAddresses(servers: Iterable<string>): string[] {
  const sixes = [...servers].map((address) => address.includes(':'));
  return [...(sixes.includes(false) ? [SHARED4] : []), ...(sixes.includes(true) ? [SHARED6] : [])];
}

/** Their routes. */
export function sharedRoutes(servers: Iterable<string>): RoutedPrefix[] {
  return sharedDnsAddresses(servers).map((address) => ({ ...hostPrefix(address), shared: true }));
}

/** Where the tunnel with this device answers others, by the device's own addresses. */
export function peerAddresses({ address4, address6 }: OwnAddresses): string[] {
  return [address4, address6].filter((it) => it !== undefined).map(peerAddress);
}

/** The same, of one of these. */
export function peerAddress(address: string): string {
  const octets = addressBytes(address);
  octets[octets.length - 1] = PEER_OCTET;
  return addressFromBytes(octets);
}
