/**
 * Initial sequence numbers (RFC 6528 §3) and timestamp offsets (RFC 7323 §5.4). Nobody else can
 * guess them, and for one pair of addresses and ports they only grow.
 *
 *   ISN = clock of 4 µs + F(addresses, ports, secret);   F is the first 32 bits of a SHA-256
 */
import { hash, randomBytes } from 'node:crypto';
import type { Tuple } from './tuple.ts';

const SECRET_BYTES = 16;
const WORDS = 9;

/** Both as int32. */
export interface InitialNumberPair {
  readonly sequence: number;
  readonly timestampOffset: number;
}

export class InitialNumberGenerator {
  readonly #input: Buffer;

  constructor(secret: Buffer = randomBytes(SECRET_BYTES)) {
    this.#input = Buffer.alloc(4 * WORDS + secret.length);
    this.#input.set(secret, 4 * WORDS);
  }

  /** `now` in milliseconds. */
  of(tuple: Tuple, now: number): InitialNumberPair {
    const input = this.#input;
    const { a0, a1, a2, a3, b0, b1, b2, b3, aPort, bPort } = tuple;
    const words = [a0, a1, a2, a3, b0, b1, b2, b3, (aPort << 16) | bPort];
    for (let i = 0; i < WORDS; i++) input.writeInt32BE(words[i] ?? 0, 4 * i);
    const digest = hash('sha256', input, 'buffer');
    return {
      sequence: (digest.readInt32BE(0) + Math.floor(now * 250)) | 0,
      timestampOffset: digest.readInt32BE(4),
    };
  }
}
