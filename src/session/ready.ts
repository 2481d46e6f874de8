/** What a session says when it is ready. */
import { closeSync, writeSync } from 'node:fs';
import { UsageError } from '../errors/errors.ts';

/** For --ready-fd: whoever reads it gets one line and the end. Throws UsageError. */
export function announceReady(fd: number | undefined): void {
  if (fd === undefined) return;
  try {
    writeSync(fd, 'READY=1\n');
    closeSync(fd);
  } catch (cause) {
    throw new UsageError(`--ready-fd ${fd} can't be written to`, {
      hint: 'pass an open descriptor',
      cause,
    });
  }
}
