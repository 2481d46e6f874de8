/**
 * Writes to this program's standard error without ever waiting.
 *
 * Node writes to terminals and files synchronously, and if it sets a descriptor non-blocking, that
 * applies to every process with the same open file (https://nodejs.org/api/process.html, "A note on
 * process I/O"). So a terminal or a pipe is opened again by its name in /proc, which gives us our
 * own open file. That fails for a socket, and for a terminal of another user (after `su`). Then the
 * descriptor is used as it is, and the addon makes each single write not wait.
 */
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { WriteNow } from './linewriter.ts';

const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;

/** The addon's writeNow(). */
export type NativeWrite = (fd: number, octets: Uint8Array) => number;

export interface StandardErrorWriter extends WriteNow {
  /** Closes its own open file. The next write finds what standard error is by then. */
  letGo(): void;
}

/**
 * The writer for a LineWriter. `native` is called at the first write, so that a silent program
 * doesn't load the addon; undefined: the addon isn't built. `reopens`: false for a root that must
 * open nothing of its caller's. `fd`: for tests.
 */
export function standardErrorWriter(
  native: () => NativeWrite | undefined,
  { fd = 2, reopens = true }: { readonly fd?: number; readonly reopens?: boolean } = {},
): StandardErrorWriter {
  let write: WriteNow | undefined;
  let own: number | undefined;
  return Object.assign(
    (bytes: Uint8Array) => {
      own ??= reopens ? ownDescriptor(fd) : fd;
      write ??= writerFor(own, native());
      return write(bytes);
    },
    {
      letGo() {
        if (own !== undefined && own !== fd) closeSync(own);
        own = undefined;
        write = undefined;
      },
    },
  );
}

function writerFor(fd: number, native: NativeWrite | undefined): WriteNow {
  if (native !== undefined) return (bytes) => native(fd, bytes);
  return (bytes) => {
    try {
      return writeSync(fd, bytes);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return 0;
      throw error;
    }
  };
}

/** Our own open file, if possible. Not for regular files, whose position must stay shared. */
function ownDescriptor(fd: number): number {
  try {
    if (!isatty(fd) && !fstatSync(fd).isFIFO()) return fd;
    return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
  } catch {
    // EACCES: another user's; ENXIO: a pipe without a reader; ENOENT: no /proc.
    return fd;
  }
}
