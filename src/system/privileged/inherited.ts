/**
 * The descriptors that the program passes on when it starts itself as the caller: those that its
 * arguments name, `--ready-fd N` and a shell's process substitution, /dev/fd/N. None of Node's own
 * may be among them, which are root's: the numbers come from the command line.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { namedDescriptors } from '../launcher/launcher.ts';

const ACCESS_MODE = 0o3;
const READS = 0;
const WRITES = 1;

/** Call it before this process has opened anything itself. */
export function inheritedDescriptors(args: readonly string[]): number[] {
  const words = args.flatMap((word, i) => {
    const [, number = args[i - 1] === '--ready-fd' ? word : ''] =
      /^--ready-fd=(.*)$/.exec(word) ?? [];
    return /^\d{1,4}$/.test(number) ? [word, `/dev/fd/${number}`] : [word];
  });
  const own = descriptorsOfNode();
  return namedDescriptors(words).filter((fd) => !own.has(fd));
}

/**
 * Descriptors that Node has made for itself: event queues and the like, which have no file, and
 * pipes of which it has both ends. Nobody passes these on.
 */
export function descriptorsOfNode(): ReadonlySet<number> {
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
