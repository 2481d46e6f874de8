/** Waiting for what no event tells of. */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';

/** More than a slow machine needs beside other tests. */
export const PATIENCE_MS = 20_000;
/** What happens at once has happened within this, also on a slow machine beside other tests. */
export const AT_ONCE_MS = 5_000;
const POLL_MS = 20;

/** Asks again and again. If it is never so, the assertion fails with these words. */
export async function until(
  done: () => boolean | Promise<boolean>,
  what: string | (() => string),
  limitMs = PATIENCE_MS,
): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await done())) {
    if (performance.now() >= end) assert.fail(typeof what === 'string' ? what : what());
    await delay(POLL_MS);
  }
}

/** Milliseconds of processor time that this process has used. Other processes don't count. */
export function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
