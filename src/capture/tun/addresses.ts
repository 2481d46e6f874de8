/** Addresses as int32 words in network order: one for IPv4, four for IPv6. */
import { addressBytes, addressFromBytes } from '../../net/address.ts';

/** The words of a canonical address. */
export function addressWords(address: string): Int32Array {
  const bytes = addressBytes(address);
  const words = new Int32Array(4);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; 4 * i < bytes.length; i++) words[i] = view.getInt32(4 * i);
  return words;
}

/** Multicast, and the limited broadcast. */
export function isMulticast(family: 4 | 6, words: Int32Array): boolean {
  const first = words[0] ?? 0;
  return family === 6 ? first >>> 24 === 0xff : first >>> 28 === 14 || first === -1;
}

/**
 * Not a usable source or destination: unspecified, loopback, IPv4-mapped (RFC 1122 §3.2.2, RFC 4443
 * §2.4 (e.6)). Linux treats the rest of class E as unicast, and so does this.
 */
export function isSpecial(family: 4 | 6, words: Int32Array): boolean {
  const [a = 0, b = 0, c = 0, d = 0] = words;
  if (family === 4) return a >>> 24 === 0 || a >>> 24 === 127;
  if (a !== 0 || b !== 0) return false;
  return c === 0xffff || (c === 0 && (d === 0 || d === 1));
}

/** The canonical address with these words. */
export function addressFromWords(family: 4 | 6, words: ArrayLike<number>): string {
  const bytes = Buffer.alloc(family === 4 ? 4 : 16);
  for (let i = 0; 4 * i < bytes.length; i++) bytes.writeInt32BE(words[i] ?? 0, 4 * i);
  return addressFromBytes(bytes);
}
