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
 * The canonical address that a name in lower case is the reverse name of; undefined where it isn't
 * that of a whole one.
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

/** Bits that a label of a reverse name stands for. */
const LABEL_BITS = { 4: 8, 6: 4 } as const;
/** A prefix that doesn't end at a label is told in so many zones, or in the next wider one. */
const MAX_ZONES_OF_A_PREFIX = 16;

/**
 * The zones that hold the reverse names of all of a prefix, and where that takes too many, one that
 * holds more.
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

/** The reverse name of an address without the labels behind its first so many. */
function reverseZone(address: string, kept: number): string {
  const labels = reverseName(address).split('.');
  const all = ADDRESS_BITS[family(address)] / LABEL_BITS[family(address)];
  return labels.slice(all - kept).join('.');
}
