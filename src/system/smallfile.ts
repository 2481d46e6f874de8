/**
 * Reads a file whose path or content others may control. Whatever the file is, reading it can't
 * block the program.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

export interface SmallFile {
  readonly text: string;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
}

/**
 * A regular file of at most `limit` bytes, as UTF-8; undefined: it is something else (a device, a
 * FIFO, a directory), or larger. Opening never waits, and little more than the limit is ever read,
 * even if the file grows or its size says nothing (procfs). Rejects with the system's error if it
 * can't be opened or read.
 */
export async function readSmallFile(path: string, limit: number): Promise<SmallFile | undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const status = await file.stat();
    if (!status.isFile() || status.size > limit) return undefined;
    const memory = Buffer.alloc(limit + 1);
    let filled = 0;
    while (filled < memory.length) {
      const { bytesRead } = await file.read(memory, filled, memory.length - filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    if (filled > limit) return undefined;
    return {
      text: memory.toString('utf8', 0, filled),
      mode: status.mode & 0o7777,
      uid: status.uid,
    };
  } finally {
    await file.close();
  }
}
