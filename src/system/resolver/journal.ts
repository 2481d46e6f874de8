/**
 * The journal: what has to be undone on this machine if the program dies before it can.
 *
 *   record(entry) -> <directory>/<pid>-<n>.json, on the disk before the change is made
 *   remove()         once it has been undone
 *   abandoned()      entries whose program no longer runs, for `tunnel clean` and for the next
 *                    start
 *
 * A program is known by its process id and its start time, since ids are used again. The directory
 * outlives a reboot, as the changes do. Only what can't hang on the TUN device is written here.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { TunnelError } from '../../errors/errors.ts';
import { homeDirectory } from '../home.ts';

/** An entry as it was read: whoever wrote it knows what is in it. */
export interface AbandonedEntry {
  readonly kind: string;
  readonly data: unknown;
  remove(): void;
}

interface Owner {
  readonly pid: number;
  /** Field 22 of proc_pid_stat(5): clock ticks since boot; with it, the boot's own id. */
  readonly startTime: string;
}

/** root's is the machine's own: sudo and a root shell may have different home directories. */
export function journalDirectory(
  env: NodeJS.ProcessEnv = process.env,
  uid = process.geteuid?.(),
): string {
  if (uid === 0) return '/var/lib/tunnel/journal';
  const state = env['XDG_STATE_HOME'];
  // Relative paths don't count (XDG Base Directory Specification).
  return join(
    state?.startsWith('/') ? state : join(homeDirectory(), '.local/state'),
    'tunnel/journal',
  );
}

export class Journal {
  readonly #directory: string;
  #count = 0;

  constructor(directory: string = journalDirectory()) {
    this.#directory = directory;
  }

  /**
   * Returns what removes the entry. Throws TunnelError `journal`: then the change must not be made.
   */
  record(kind: string, data: unknown): () => void {
    const file = join(this.#directory, `${process.pid}-${this.#count++}.json`);
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      const fd = openSync(file, 'wx', 0o600);
      try {
        writeSync(fd, JSON.stringify({ kind, owner: ownerOf(process.pid), data }));
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
    } catch (cause) {
      throw new TunnelError('journal', `the journal can't be written: ${reason(cause)}`, {
        hint: `make ${this.#directory} a directory that can be written to, or use "tunnel exec", which needs no journal`,
        cause,
      });
    }
    return () => rmSync(file, { force: true });
  }

  /**
   * Entries of programs that don't run any more. One that can't be read is reported as kind
   * `unreadable`.
   */
  abandoned(): AbandonedEntry[] {
    let files: string[];
    try {
      files = readdirSync(this.#directory).filter((name) => name.endsWith('.json'));
    } catch {
      return []; // no directory: nothing has ever been written
    }
    return files.sort().flatMap((name) => {
      const file = join(this.#directory, name);
      const remove = () => rmSync(file, { force: true });
      const entry = readEntry(file);
      // One of a program that runs may be in the middle of being written.
      if (entry === undefined)
        return ownerOf(Number.parseInt(name, 10)) === undefined
          ? [{ kind: 'unreadable', data: file, remove }]
          : [];
      const now = ownerOf(entry.owner.pid);
      const running = now !== undefined && now.startTime === entry.owner.startTime;
      return running ? [] : [{ kind: entry.kind, data: entry.data, remove }];
    });
  }
}

function readEntry(file: string): { kind: string; owner: Owner; data: unknown } | undefined {
  try {
    const entry: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (!isRecord(entry) || typeof entry['kind'] !== 'string' || !isRecord(entry['owner']))
      return undefined;
    const { pid, startTime } = entry['owner'];
    if (typeof pid !== 'number' || typeof startTime !== 'string') return undefined;
    return { kind: entry['kind'], owner: { pid, startTime }, data: entry['data'] };
  } catch {
    return undefined; // cut off by a crash while it was written, so the change was never made
  }
}

/** undefined: no such process. */
function ownerOf(pid: number): Owner | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field, the program's name in parentheses, may hold anything.
    const [, ...fields] = stat.slice(stat.lastIndexOf(')')).split(' ');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return { pid, startTime: `${boot} ${fields[19]}` };
  } catch {
    return undefined; // it has ended
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
