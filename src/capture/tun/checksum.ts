/**
 * The Internet checksum (RFC 1071): sums of 16-bit words in network order, kept below 2^53 and
 * folded at the end.
 */

/** Sums the words from `from` to `to`; a last odd byte is the high half of a word. */
export function checksumOf(view: DataView, from: number, to: number): number {
  let sum = 0;
  let at = from;
  for (; at + 4 <= to; at += 4) {
    const word = view.getUint32(at);
    sum += (word >>> 16) + (word & 0xffff);
  }
  if (at + 2 <= to) {
    sum += view.getUint16(at);
    at += 2;
  }
  return at < to ? sum + (view.getUint8(at) << 8) : sum;
}

/** One's complement: adds the carries in until none is left. */
export function foldSum(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return folded;
}

/**
 * The sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1). Addresses as int32 words: one for
 * IPv4, four for IPv6.
 */
export function pseudoHeaderSum(
  family: 4 | 6,
  source: Int32Array,
  destination: Int32Array,
  protocol: number,
  length: number,
): number {
  const words = family === 4 ? 1 : 4;
  let sum = protocol + (length >>> 16) + (length & 0xffff);
  for (let i = 0; i < words; i++) {
    const a = source[i] ?? 0;
    const b = destination[i] ?? 0;
    sum += (a >>> 16) + (a & 0xffff) + (b >>> 16) + (b & 0xffff);
  }
  return sum;
}
