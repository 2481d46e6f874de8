/**
 * The machine's processes from /proc: who is whose child, in which network namespace, and since
 * when.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** A process of this machine, as /proc shows it. */
export interface ProcessEntry {
  readonly pid: number;
  readonly parent: number;
  /** Clock ticks since boot; with the pid it names a process for good. */
  readonly startTime: number;
  /** The inode of its network namespace. */
  readonly netns: number | undefined;
}

/** Undefined when there is no such process, or only a zombie that its parent has yet to reap. */
export function processEntry(pid: number): ProcessEntry | undefined {
  let stat: string;
  let netns: string | undefined;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    netns = namespaceLink(pid);
  } catch {
    return undefined; // gone between the listing and the look
  }
  // The program's name is in parentheses and may hold anything, also parentheses
  // (proc_pid_stat(5)).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, parent] = fields;
  const startTime = fields[19];
  if (state === 'Z' || state === 'X' || parent === undefined || startTime === undefined)
    return undefined;
  const inode = netns?.match(/\[(\d+)\]/)?.[1];
  return {
    pid,
    parent: Number(parent),
    startTime: Number(startTime),
    netns: inode === undefined ? undefined : Number(inode),
  };
}

function namespaceLink(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined; // it is just ending and has no namespaces any more
  }
}

export function allProcesses(): ProcessEntry[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => processEntry(Number(name)))
    .filter((entry) => entry !== undefined);
}

/** The given processes and all that descend from them. */
export function withDescendants(
  roots: Iterable<number>,
  all: readonly ProcessEntry[],
): Set<number> {
  const found = new Set(roots);
  for (let before = -1; before !== found.size; ) {
    before = found.size;
    for (const entry of all) if (found.has(entry.parent)) found.add(entry.pid);
  }
  return found;
}

/** Sends a signal to those of the processes that still exist. */
export function signalAll(processes: Iterable<number>, signal: NodeJS.Signals): void {
  for (const pid of processes) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has just ended by itself.
    }
  }
}
