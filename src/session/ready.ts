/** What a session says when it is ready. */
import { closeSync, writeSync } from 'node:fs';
import { UsageError } from '../errors/errors.ts';
import type { SshOptions } from '../ssh/options.ts';

/** For the log, when traffic flows. On demand that begins with the first connection. */
export function readiness({ onDemand }: Pick<SshOptions, 'onDemand'>): string {
  return onDemand === undefined ? 'ready' : 'waiting (on demand)';
}

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
