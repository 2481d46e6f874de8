/** Names for reverse look-ups: `4.3.2.1.in-addr.arpa` (RFC 1035 §3.5), `b.a.9.8...ip6.arpa` (RFC 3596 §2.5). */
import { addressBytes, addressFromBytes, canonicalAddress, isAddress } from '../net/address.ts';

const ZONE4 = '.in-addr.arpa';
const ZONE6 = '.ip6.arpa';

export function isReverse(name: string): boolean {
  return name.endsWith(ZONE4) || name.endsWith(ZONE6);
}

/** The canonical address that a name in lower case is the reverse name of; undefined where it isn't that of a whole one. */
export function addressFromReverse(name: string): string | undefined {
  if (name.endsWith(ZONE4)) {
    const text = name.slice(0, -ZONE4.length).split('.').reverse().join('.');
    return isAddress(text) ? canonicalAddress(text) : undefined;
  }
  if (!/^([0-9a-f]\.){32}ip6\.arpa$/.test(name)) return undefined;
  const digits = name.slice(0, -ZONE6.length).split('.').reverse().join('');
  return addressFromBytes(Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16)));
}

/** The reverse name of a canonical address. */
export function reverseName(address: string): string {
  const octets = [...addressBytes(address)].reverse();
  if (octets.length === 4) return `${octets.join('.')}${ZONE4}`;
  const nibbles = octets.flatMap((octet) => [octet & 0xf, octet >> 4]);
  return `${nibbles.map((nibble) => nibble.toString(16)).join('.')}${ZONE6}`;
}
