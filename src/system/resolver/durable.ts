/** Writes files that are complete and on the disk when the call returns. */
import {
  closeSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  writeFileSync,
} from 'node:fs';

/** open(2), fsync(2) */
const CANNOT_SYNC = ['EACCES', 'EINVAL', 'ENOSYS', 'ENOTSUP', 'EROFS'];

export interface DurableOptions {
  /** Not changed by the umask. */
  readonly mode: number;
  readonly owner?: { readonly uid: number; readonly gid: number };
  readonly encoding?: BufferEncoding;
}

/** Makes a new file. Throws the file system's error, EEXIST included. */
export function writeDurably(
  path: string,
  text: string,
  { mode, owner, encoding = 'utf8' }: DurableOptions,
): void {
  const fd = openSync(path, 'wx', mode);
  try {
    writeFileSync(fd, text, { encoding }); // goes on after a short write
    fchmodSync(fd, mode);
    if (owner !== undefined) fchownSync(fd, owner.uid, owner.gid);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Overwrites an existing file that can't be replaced. When it throws, or the program is killed, the
 * file begins with some of `text` and goes on as before. It is never empty on the way.
 */
export function overwriteDurably(path: string, text: string, encoding: BufferEncoding): void {
  const fd = openSync(path, 'r+');
  try {
    const octets = Buffer.from(text, encoding);
    writeFileSync(fd, octets);
    ftruncateSync(fd, octets.length);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes a directory's entries to the disk, if the file system can do that and the directory may be
 * read.
 */
export function syncDirectory(path: string): void {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    fsyncSync(fd);
  } catch (error) {
    if (!CANNOT_SYNC.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
