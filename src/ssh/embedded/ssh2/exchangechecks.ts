/**
 * What ssh2 doesn't check in the server's half of a key exchange. Each function throws
 * ExchangeFault for what RFC 4253 and its successors forbid.
 *
 *   curve25519-sha256    32 bytes, and not a point whose product is always zero (RFC 8731 §3)
 *   ecdh-sha2-nistp*     a whole point of the curve, not compressed (RFC 5656 §4)
 *   diffie-hellman-*     1 < f < p - 1 (RFC 4253 §8), and not only a few bits
 *   host key             RSA with 1024 to 16384 bits, as OpenSSH's own limits are
 */
import { createPublicKey, diffieHellman, type KeyObject } from 'node:crypto';

/** The server breaks a rule of the key exchange. The message completes "the server ...". */
export class ExchangeFault extends Error {
  override readonly name = 'ExchangeFault';
  readonly hint: string | undefined;

  constructor(what: string, hint?: string) {
    super(what);
    this.hint = hint;
  }
}

export const X25519_BYTES = 32;
/** An X25519 key in DER without its bytes (RFC 8410 §4). */
const X25519_HEAD = Buffer.from('302a300506032b656e032100', 'hex');
/** SSH_RSA_MINIMUM_MODULUS_SIZE and the largest that OpenSSL verifies with. */
export const LEAST_RSA_BITS = 1024;
export const MOST_RSA_BITS = 16_384;
/** An f or e with fewer ones is as good as chosen to be guessed (dh_pub_is_valid of OpenSSH). */
const LEAST_ONES = 4;

/** The shared secret of X25519 (RFC 7748 §6.1), 32 bytes. */
export function x25519(privateKey: KeyObject, theirs: Buffer): Buffer {
  if (theirs.length !== X25519_BYTES)
    throw new ExchangeFault(`sends a key of X25519 with ${theirs.length} bytes instead of 32`);
  const publicKey = createPublicKey({
    key: Buffer.concat([X25519_HEAD, theirs]),
    type: 'spki',
    format: 'der',
  });
  let secret: Buffer | undefined;
  try {
    secret = diffieHellman({ privateKey, publicKey });
  } catch {
    // OpenSSL itself refuses to return zeros.
  }
  if (secret === undefined || secret.every((octet) => octet === 0))
    throw new ExchangeFault('sends a key of X25519 that makes the secret zero');
  return secret;
}

/** A point of NIST's curves, of which a coordinate has this many bytes. */
export function checkPoint(theirs: Buffer, coordinate: number): void {
  if (theirs.length !== 1 + 2 * coordinate || theirs[0] !== 4)
    throw new ExchangeFault('sends what is not a whole point of the curve');
}

/** `theirs`: f, as an mpint without its length; `prime`: p. */
export function checkDiffieHellman(theirs: Buffer, prime: Buffer): void {
  const [f, p] = [unsigned(theirs), unsigned(prime)];
  const negative = ((theirs[0] ?? 0) & 0x80) !== 0;
  if (
    negative ||
    theirs.length > prime.length + 1 ||
    f <= 1n ||
    f >= p - 1n ||
    ones(f) < LEAST_ONES
  )
    throw new ExchangeFault('sends a key of Diffie-Hellman that is out of range');
}

/** `blob`: a host key as the server sends it (RFC 4253 §6.6). Looks at RSA keys only. */
export function checkHostKeySize(blob: Buffer): void {
  const [type, , modulus] = strings(blob, 3);
  if (type?.toString('latin1') !== 'ssh-rsa' || modulus === undefined) return;
  const bits = unsigned(modulus).toString(2).length;
  if (bits < LEAST_RSA_BITS || bits > MOST_RSA_BITS)
    throw new ExchangeFault(
      `shows an RSA host key of ${bits} bits; ${LEAST_RSA_BITS} to ${MOST_RSA_BITS} are accepted`,
    );
}

/** Up to `count` of the strings that `data` consists of (RFC 4251 §5), as views. */
export function strings(data: Buffer, count: number): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; found.length < count && at + 4 <= data.length; ) {
    const end = at + 4 + data.readUInt32BE(at);
    if (end > data.length) break;
    found.push(data.subarray(at + 4, end));
    at = end;
  }
  return found;
}

function unsigned(octets: Buffer): bigint {
  return octets.length === 0 ? 0n : BigInt(`0x${octets.toString('hex')}`);
}

function ones(value: bigint): number {
  return value.toString(2).replaceAll('0', '').length;
}
