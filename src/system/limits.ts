/** The system's limits for this process. */
import { readFileSync } from 'node:fs';

/** Used if the system doesn't say. */
const LEAST_DESCRIPTORS = 256;

/**
 * The soft limit on descriptors that this process was started with, read from its parent: Node has
 * raised its own to the hard limit. Undefined if the parent has another hard limit, since its soft
 * limit then says nothing.
 */
export function descriptorLimitAtStart(): number | undefined {
  try {
    const [soft, hard] = descriptorLimits(process.ppid);
    const [, own] = descriptorLimits(process.pid);
    return hard === own && /^[1-9]\d{0,8}$/.test(soft) ? Number(soft) : undefined;
  } catch {
    // The parent has gone or can't be read; the caller uses the limit that Node has set.
    return undefined;
  }
}

function descriptorLimits(pid: number): [soft: string, hard: string] {
  const text = readFileSync(`/proc/${pid}/limits`, 'utf8');
  const [, soft = '', hard = ''] = /^Max open files\s+(\S+)\s+(\S+)/m.exec(text) ?? [];
  return [soft, hard];
}

/**
 * How many descriptors this process may have open (RLIMIT_NOFILE). Node raised it to the hard limit
 * when it started.
 */
export function descriptorLimit(): number {
  const [soft] = descriptorLimits(process.pid);
  if (soft === 'unlimited') return Number.MAX_SAFE_INTEGER;
  const limit = Number(soft);
  return Number.isInteger(limit) && limit > 0 ? limit : LEAST_DESCRIPTORS;
}
