/**
 * Copies one Node stream into another, with back-pressure, then its end. The caller handles errors.
 */
import type { Readable, Writable } from 'node:stream';

export function pump(from: Readable, to: Writable): void {
  let listening = false;
  from.on('data', (chunk: Buffer) => {
    if (!to.writable || to.write(chunk)) return;
    from.pause();
    if (!listening) to.on('drain', () => from.resume());
    listening = true;
  });
  from.on('end', () => to.end());
  from.resume();
}
