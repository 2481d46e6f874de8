/**
 * How this program writes to its standard error: never waiting.
 *
 * Node writes to terminals and files synchronously, and what it sets non-blocking it sets so for
 * everybody who has the same open file (https://nodejs.org/api/process.html, "A note on process
 * I/O"). So a terminal or a pipe is opened again by its name in /proc, which makes an open file of
 * our own. That fails for a socket, and for a terminal of another user (after `su`); then the
 * descriptor is used as it is, and the addon sees to it that the one write doesn't wait.
 */
import { constants, fstatSync, openSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { WriteNow } from './linewriter.ts';

const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;

/** The addon's; undefined where it isn't built. */
export type NativeWrite = (fd: number, octets: Uint8Array) => number;

/**
 * For a LineWriter. `native` is asked for at the first write: the addon isn't loaded for a program
 * that says nothing. `fd`: for tests.
 */
export function standardErrorWriter(native: () => NativeWrite | undefined, fd = 2): WriteNow {
  let write: WriteNow | undefined;
  return (bytes) => {
    write ??= writerFor(ownDescriptor(fd), native());
    return write(bytes);
  };
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

/** An open file of our own where that can be had; a file's would have a position of its own. */
function ownDescriptor(fd: number): number {
  try {
    if (!isatty(fd) && !fstatSync(fd).isFIFO()) return fd;
    return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
  } catch {
    // EACCES: another user's; ENXIO: a pipe without a reader; ENOENT: no /proc.
    return fd;
  }
}
