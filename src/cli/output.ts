/**
 * Standard output, for what a command was asked to print.
 *
 * Nothing else happens while it is printed, so a write may wait for its reader. Node's own stream
 * isn't used: for a pipe it would set O_NONBLOCK for every process that shares it, and what is left
 * in it at the end of the program is lost.
 */
import { writeSync } from 'node:fs';
import { TunnelError } from '../errors/errors.ts';
import { systemCodeOf } from '../errors/reason.ts';

/** Between two tries where a pipe is full, in milliseconds. */
const RETRY_MS = 10;

/**
 * Writes all of `text`. A reader that has gone is no error, as for any program in a pipeline: then
 * the result is false. Throws TunnelError `output-failed`, also when a part has been written.
 *
 * A standard output that was closed before the program began takes everything: Node has opened
 * /dev/null in its place by now.
 */
export function print(text: string, fd = 1): boolean {
  let rest = Buffer.from(text);
  const pause = new Int32Array(new SharedArrayBuffer(4));
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      const code = systemCodeOf(error);
      if (code === 'EPIPE') return false;
      if (code !== 'EAGAIN') throw failed(code, error);
      Atomics.wait(pause, 0, 0, RETRY_MS);
    }
  }
  return true;
}

function failed(code: string, cause: unknown): TunnelError {
  return new TunnelError('output-failed', `standard output can't be written: ${code}`, {
    hint: 'send it elsewhere: what is there now may be a part of it',
    cause,
  });
}
