/** Reads files that somebody else has written, up to a limit. */
import { readSync } from 'node:fs';

const CHUNK_BYTES = 64 * 1024;

/**
 * What a file, a pipe or a device holds from here on; undefined: it is more than `most` bytes. The
 * size that fstat(2) reports is no limit, because pipes and devices have none. Throws the errors of
 * read(2).
 */
export function readAtMost(fd: number, most: number): Buffer | undefined {
  const chunks: Buffer[] = [];
  for (let total = 0; total <= most; ) {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, most + 1 - total));
    const length = readSync(fd, chunk);
    if (length === 0) return Buffer.concat(chunks);
    total += length;
    chunks.push(chunk.subarray(0, length));
  }
  return undefined;
}
