/** Which of this process's descriptors are Node's own, from /proc/self/fd. */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { isLinux } from '../base/platform.ts';

/** Of open(2)'s flags. */
const ACCESS_MODE = 0o3;
const READS = 0;
const WRITES = 1;

/**
 * Descriptors that Node has made for itself: event queues and the like, which have no file, and
 * pipes of which it has both ends. Nobody passes these on. Only Linux tells.
 */
export function descriptorsOfNode(): ReadonlySet<number> {
  if (!isLinux()) return new Set();
  const links = openDescriptors();
  const own = new Set<number>();
  for (const [fd, link] of links) {
    if (link.startsWith('anon_inode:')) own.add(fd);
    if (!link.startsWith('pipe:')) continue;
    const modes = [...links].filter(([, it]) => it === link).map(([it]) => modeOf(it));
    if (modes.includes(READS) && modes.includes(WRITES)) own.add(fd);
  }
  return own;
}

function openDescriptors(): Map<number, string> {
  const links = new Map<number, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      links.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // ENOENT: the descriptor that the directory was read with
    }
  }
  return links;
}

/** open(2)'s access mode. */
function modeOf(fd: number): number | undefined {
  try {
    const [, flags = ''] =
      /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')) ?? [];
    return Number.parseInt(flags, 8) & ACCESS_MODE;
  } catch {
    return undefined; // it has been closed
  }
}
