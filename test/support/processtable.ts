/**
 * The machine's processes from /proc: their parents, network namespaces and start times.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** A process of this machine, as /proc shows it. */
export interface ProcessEntry {
  readonly pid: number;
  readonly parent: number;
  /** Clock ticks since boot; together with the pid it identifies a process for ever. */
  readonly startTime: number;
  /** The inode of its network namespace. */
  readonly netns: number | undefined;
}

/** Undefined if there is no such process, or only a zombie that its parent has not reaped yet. */
export function processEntry(pid: number): ProcessEntry | undefined {
  let stat: string;
  let netns: string | undefined;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    netns = namespaceLink(pid);
  } catch {
    return undefined; // gone since the listing
  }
  // The program's name is in parentheses and may contain anything, even parentheses
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
    return undefined; // it is ending and has no namespaces any more
  }
}

/** Its words, each with a NUL after it; empty if it has ended. */
export function commandLineOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

/**
 * The processes of `user`'s sessions at an sshd, by the titles that they give themselves. From
 * OpenSSH 9.8 on they are another program, sshd-session.
 */
export function sessionsOf(sshd: number, user: string): number[] {
  return [...withDescendants([sshd], allProcesses())].filter((pid) =>
    ['sshd', 'sshd-session'].some((name) => commandLineOf(pid).startsWith(`${name}: ${user}`)),
  );
}

export function allProcesses(): ProcessEntry[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => processEntry(Number(name)))
    .filter((entry) => entry !== undefined);
}

/** The given processes and all their descendants. */
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

/** Sends a signal to all of these processes that still exist. */
export function signalAll(processes: Iterable<number>, signal: NodeJS.Signals): void {
  for (const pid of processes) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has just ended.
    }
  }
}
