/** The system's limits for this process. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { isLinux } from '../base/platform.ts';

/** Used if the system doesn't say. */
const LEAST_DESCRIPTORS = 256;
/** Handles have no limit there that connections would reach. */
const OF_WINDOWS = 16_384;

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
  const soft = isLinux() ? descriptorLimits(process.pid)[0] : shellsLimit();
  if (soft === 'unlimited') return Number.MAX_SAFE_INTEGER;
  const limit = Number(soft);
  return Number.isInteger(limit) && limit > 0 ? limit : LEAST_DESCRIPTORS;
}

/** A shell has the limit of the process that starts it. Windows has neither. */
function shellsLimit(): string {
  if (process.platform === 'win32') return String(OF_WINDOWS);
  try {
    return execFileSync('/bin/sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).trim();
  } catch {
    return ''; // as if the system didn't say
  }
}
