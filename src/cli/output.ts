/**
 * Standard output, for what a command was asked to print.
 *
 * Nothing else happens while it is printed, so a write may wait for its reader. Node's own stream
 * isn't used: for a pipe it would set O_NONBLOCK for every process that shares it, and what is left
 * in it at the end of the program is lost.
 */
import { writeSync } from 'node:fs';

/** Between two tries where a pipe is full, in milliseconds. */
const RETRY_MS = 10;

/** Writes all of `text`. A reader that has gone is no error, as for any program in a pipeline. */
export function print(text: string, fd = 1): void {
  let rest = Buffer.from(text);
  const pause = new Int32Array(new SharedArrayBuffer(4));
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (code === 'EPIPE') return;
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(pause, 0, 0, RETRY_MS);
    }
  }
}
