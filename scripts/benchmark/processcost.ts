/**
 * What a program costs: processor time, memory and descriptors of a process and its descendants,
 * from /proc.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { allProcesses, withDescendants } from '../../test/support/processtable.ts';

/**
 * USER_HZ, in which /proc counts processor time (proc_pid_stat(5)): 100 on everything that Node
 * runs on.
 */
const TICKS_A_SECOND = 100;
/**
 * Fields 14 and 15 of /proc/PID/stat, counted from after the name: user and system time of all
 * threads, including those that have ended.
 */
const USER_TIME = 11;
const SYSTEM_TIME = 12;

function family(pid: number): number[] {
  return [...withDescendants([pid], allProcesses())];
}

/** Undefined when the process has just ended. */
function read(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // A child may end at any time; what it has used is then not counted.
    return undefined;
  }
}

/** Seconds of processor time that the process and its descendants have used so far. */
export function cpuSeconds(pid: number): number {
  let ticks = 0;
  for (const member of family(pid)) {
    const stat = read(member, 'stat') ?? '';
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[USER_TIME] ?? 0) + Number(fields[SYSTEM_TIME] ?? 0);
  }
  return ticks / TICKS_A_SECOND;
}

/**
 * The same of the threads that it has now, to the nanosecond (/proc/PID/task/TID/schedstat): for
 * times so short that a hundredth of a second shows.
 */
export function preciseCpuSeconds(pid: number): number {
  let nanoseconds = 0;
  for (const member of family(pid))
    for (const thread of threadsOf(member)) {
      const stat = read(member, `task/${thread}/schedstat`) ?? '0';
      nanoseconds += Number(stat.split(' ', 1)[0]);
    }
  return nanoseconds / 1e9;
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // it has just ended
  }
}

/** Resident bytes of the process and its descendants; pages that they share count for each. */
export function residentBytes(pid: number): number {
  let kibibytes = 0;
  for (const member of family(pid))
    kibibytes += Number(/^VmRSS:\s+(\d+)/m.exec(read(member, 'status') ?? '')?.[1] ?? 0);
  return kibibytes * 1024;
}

/** Descriptors that the process and its descendants have open. */
export function openDescriptors(pid: number): number {
  return family(pid).reduce((sum, member) => sum + descriptorsOf(member), 0);
}

function descriptorsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0; // it has just ended
  }
}
