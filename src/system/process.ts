/** What proc(5) tells about other processes. */
import { readFileSync } from 'node:fs';

/** The fields of proc(5)'s stat that follow the program's name, from `state` (field 3). */
export function processStat(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    // It is gone, which is what the callers want to know.
    return undefined;
  }
}
