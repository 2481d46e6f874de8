/** Reads proc(5) about processes. */
import { readFileSync } from 'node:fs';

/** include/linux/sched.h: set before the kernel closes the descriptors of a process that ends. */
const PF_EXITING = 0x4;

/** Fields of proc(5)'s stat. */
export interface ProcessStat {
  readonly state: string;
  /** The process that has started it, or that has taken it over; 0: none. */
  readonly parent: number;
  /** Its process group, and the foreground group of its terminal (-1: it has no terminal). */
  readonly group: number;
  readonly session: number;
  readonly foreground: number;
  /** PF_... of the kernel's linux/sched.h. */
  readonly flags: number;
  /** In clock ticks since the machine's start. */
  readonly startTime: number;
}

/** undefined: there is no such process. */
export function processStat(pid: number | 'self'): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    // The process is gone, which is what callers want to know.
    return undefined;
  }
  // The second field, the program's name in parentheses, may contain any characters.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state = '', parent, group, session, , foreground, flags] = fields;
  return {
    state,
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    foreground: Number(foreground),
    flags: Number(flags),
    startTime: Number(fields[19]),
  };
}

/** Whether the process has not ended. One that has is not waited for by everybody's parent. */
export function hasNotEnded(pid: number): boolean {
  const { state = 'Z' } = processStat(pid) ?? {};
  return state !== 'Z' && state !== 'X';
}

/**
 * Whether the process runs, and doesn't end either: the kernel closes the descriptors of one that
 * ends before it calls it a zombie. Whoever is cut off looks in between.
 */
export function runsOn(pid: number): boolean {
  const { state = 'Z', flags = 0 } = processStat(pid) ?? {};
  return state !== 'Z' && state !== 'X' && (flags & PF_EXITING) === 0;
}

/** Whether there is such a process, on any system. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: another user's.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/**
 * Bytes that a process has read with read(2), from files, sockets and pipes alike (rchar of
 * proc(5)'s io). undefined: there is no such process, it is another user's, or the kernel doesn't
 * count.
 */
export function bytesRead(pid: number | 'self'): number | undefined {
  try {
    const [, bytes] = /^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'latin1')) ?? [];
    return bytes === undefined ? undefined : Number(bytes);
  } catch {
    return undefined;
  }
}
