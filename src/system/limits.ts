/** What the system lets this process have. */
import { readFileSync } from 'node:fs';

/** POSIX's least for OPEN_MAX, where the system doesn't say. */
const LEAST_DESCRIPTORS = 256;

/** How many descriptors this process may have open; Node has raised it to the hard limit at its start (RLIMIT_NOFILE). */
export function descriptorLimit(): number {
  const [, soft = ''] = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  if (soft === 'unlimited') return Number.MAX_SAFE_INTEGER;
  const limit = Number(soft);
  return Number.isInteger(limit) && limit > 0 ? limit : LEAST_DESCRIPTORS;
}
