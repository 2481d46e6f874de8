/**
 * One-time codes as pam_google_authenticator checks them: time-based (RFC 6238), six digits, every
 * 30 seconds.
 */
import { createHmac } from 'node:crypto';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const PERIOD_MS = 30_000;

/** In base32 (RFC 4648 §6), as the secret file has it. */
export const SECRET = 'JBSWY3DPEHPK3PXPJBSWY3DPEH';

/** The content of a user's secret file: codes may be used more than once. */
export const SECRET_FILE = `${SECRET}\n" TOTP_AUTH\n`;

export function oneTimeCode(now: number = Date.now()): string {
  const bits = [...SECRET]
    .map((letter) => ALPHABET.indexOf(letter).toString(2).padStart(5, '0'))
    .join('');
  const octets = bits.match(/.{8}/g)?.map((octet) => Number.parseInt(octet, 2)) ?? [];
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(now / PERIOD_MS)));
  const hash = createHmac('sha1', Buffer.from(octets)).update(counter).digest();
  const offset = hash.readUInt8(hash.length - 1) & 0xf;
  return String((hash.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}
