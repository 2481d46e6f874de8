/** What the system lets this process have. */
import { readFileSync } from 'node:fs';

/** POSIX's least for OPEN_MAX, where the system doesn't say. */
const LEAST_DESCRIPTORS = 256;

/**
 * The soft limit of descriptors that this process was started with, as far as its parent shows it:
 * Node has raised its own to the hard limit since. Undefined where the parent's hard limit is
 * another one, so that its soft limit says nothing.
 */
export function descriptorLimitAtStart(): number | undefined {
  try {
    const [soft, hard] = descriptorLimits(process.ppid);
    const [, own] = descriptorLimits(process.pid);
    return hard === own && /^[1-9]\d{0,8}$/.test(soft) ? Number(soft) : undefined;
  } catch {
    // The parent has gone, or hides itself: then what Node has made of it must do.
    return undefined;
  }
}

function descriptorLimits(pid: number): [soft: string, hard: string] {
  const text = readFileSync(`/proc/${pid}/limits`, 'utf8');
  const [, soft = '', hard = ''] = /^Max open files\s+(\S+)\s+(\S+)/m.exec(text) ?? [];
  return [soft, hard];
}

/**
 * How many descriptors this process may have open; Node has raised it to the hard limit at its
 * start (RLIMIT_NOFILE).
 */
export function descriptorLimit(): number {
  const [soft] = descriptorLimits(process.pid);
  if (soft === 'unlimited') return Number.MAX_SAFE_INTEGER;
  const limit = Number(soft);
  return Number.isInteger(limit) && limit > 0 ? limit : LEAST_DESCRIPTORS;
}
