/** Reads files that somebody else has written, up to a limit. */
import { fstatSync, readSync } from 'node:fs';

const CHUNK_BYTES = 64 * 1024;

/**
 * What pipes and terminals have held, by the kernel's numbers of them. They can be read only once:
 * when a command line is read again, what they said the first time still holds.
 */
const heard = new Map<string, Buffer>();

/**
 * What a file, a pipe or a device holds from here on; undefined: it is more than `most` bytes. The
 * size that fstat(2) reports is no limit, because pipes and devices have none. Throws the errors of
 * read(2).
 *
 * Of a pipe or a terminal that has been read before, that is what it held then.
 */
export function readAtMost(fd: number, most: number): Buffer | undefined {
  const stat = fstatSync(fd);
  if (stat.isFile()) return readToEnd(fd, most);
  const key = `${stat.dev}:${stat.ino}`;
  const before = heard.get(key);
  if (before !== undefined && before.length <= most) return before;
  const bytes = readToEnd(fd, most);
  if (bytes !== undefined && bytes.length > 0) heard.set(key, bytes);
  return bytes;
}

function readToEnd(fd: number, most: number): Buffer | undefined {
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
