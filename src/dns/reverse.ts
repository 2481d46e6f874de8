/**
 * Names for reverse look-ups: `4.3.2.1.in-addr.arpa` (RFC 1035 §3.5), `b.a.9.8...ip6.arpa` (RFC
 * 3596 §2.5).
 */
import {
  ADDRESS_BITS,
  addressBytes,
  addressFromBytes,
  addressFromNumber,
  addressNumber,
  canonicalAddress,
  family,
  isAddress,
} from '../net/address.ts';
import type { Prefix } from '../net/prefix.ts';

const ZONE4 = '.in-addr.arpa';
const ZONE6 = '.ip6.arpa';

export function isReverse(name: string): boolean {
  return name.endsWith(ZONE4) || name.endsWith(ZONE6);
}

/**
 * The canonical address whose reverse name this is, given in lower case; undefined if it isn't the
 * reverse name of a whole address.
 */
export function addressFromReverse(name: string): string | undefined {
  if (name.endsWith(ZONE4)) {
    const text = name.slice(0, -ZONE4.length).split('.').reverse().join('.');
    return isAddress(text) ? canonicalAddress(text) : undefined;
  }
  if (!/^([0-9a-f]\.){32}ip6\.arpa$/.test(name)) return undefined;
  const digits = name.slice(0, -ZONE6.length).split('.').reverse().join('');
  return addressFromBytes(
    Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16)),
  );
}

/** The reverse name of a canonical address. */
export function reverseName(address: string): string {
  const octets = [...addressBytes(address)].reverse();
  if (octets.length === 4) return `${octets.join('.')}${ZONE4}`;
  const nibbles = octets.flatMap((octet) => [octet & 0xf, octet >> 4]);
  return `${nibbles.map((nibble) => nibble.toString(16)).join('.')}${ZONE6}`;
}

/** How many bits of the address each label of a reverse name encodes. */
const LABEL_BITS = { 4: 8, 6: 4 } as const;
/**
 * A prefix that doesn't end at a label's boundary is split into at most this many zones. If it
 * needs more, the next wider zone is used.
 */
const MAX_ZONES_OF_A_PREFIX = 16;

/**
 * The zones that contain the reverse names of all addresses of a prefix. If that takes too many,
 * one zone that contains more.
 */
export function reverseZones({ family: of, address, length }: Prefix): string[] {
  const bits = LABEL_BITS[of];
  const exact = Math.ceil(length / bits) * bits;
  const count = 2 ** (exact - length);
  if (count > MAX_ZONES_OF_A_PREFIX) return [reverseZone(address, Math.floor(length / bits))];
  const step = 1n << BigInt(ADDRESS_BITS[of] - exact);
  const first = addressNumber(address);
  return Array.from({ length: count }, (_, i) =>
    reverseZone(addressFromNumber(first + step * BigInt(i), of), exact / bits),
  );
}

/** The zone for the first `kept` labels of an address, counted from the most significant. */
function reverseZone(address: string, kept: number): string {
  const labels = reverseName(address).split('.');
  const all = ADDRESS_BITS[family(address)] / LABEL_BITS[family(address)];
  return labels.slice(all - kept).join('.');
}
