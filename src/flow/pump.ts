/**
 * Copies one Node stream into another, with back-pressure, then its end. What becomes of errors is
 * the caller's business.
 */
import type { Readable, Writable } from 'node:stream';

export function pump(from: Readable, to: Writable): void {
  let awaited = false;
  from.on('data', (chunk: Buffer) => {
    if (!to.writable || to.write(chunk)) return;
    from.pause();
    if (!awaited) to.on('drain', () => from.resume());
    awaited = true;
  });
  from.on('end', () => to.end());
  from.resume();
}
