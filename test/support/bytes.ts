/**
 * Reproducible noise: both ends of a transfer can generate it, so a test knows the digest of what
 * it should receive.
 */
import { createCipheriv, createHash } from 'node:crypto';

const CHUNK_BYTES = 256 * 1024;

/**
 * `length` bytes that depend on `seed` only (the key stream of AES-128-CTR), in chunks: 1-2 GB/s.
 */
export function* pseudoRandomChunks(length: number, seed: string): Generator<Buffer> {
  const key = createHash('sha256').update(seed).digest().subarray(0, 16);
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
  const zeros = Buffer.alloc(CHUNK_BYTES);
  for (let left = length; left > 0; left -= CHUNK_BYTES) {
    yield cipher.update(left < CHUNK_BYTES ? zeros.subarray(0, left) : zeros);
  }
}

export function pseudoRandomBytes(length: number, seed: string): Buffer {
  return Buffer.concat([...pseudoRandomChunks(length, seed)]);
}

/** The SHA-256 of `pseudoRandomBytes(length, seed)` in hex, without keeping them in memory. */
export function pseudoRandomDigest(length: number, seed: string): string {
  const hash = createHash('sha256');
  for (const chunk of pseudoRandomChunks(length, seed)) hash.update(chunk);
  return hash.digest('hex');
}
