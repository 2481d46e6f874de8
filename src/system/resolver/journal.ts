/**
 * The journal of changes to this machine that must be undone if the program dies before it can do
 * so.
 *
 *   record()     -> <directory>/<pid>-<n>.json, on the disk before the change is made
 *   replace()    before the change is made in another way
 *   remove()     once the change has been undone
 *   abandoned()  entries whose program no longer runs, for `tunnel clean` and for the next start
 *   running()    those whose program does
 *
 * An entry is written as <pid>-<n>.json.new, and renamed when it is complete. An incomplete entry
 * was cut off by a crash, so its change was never made.
 * replace() does the same with the same name.
 *
 * A program is identified by its process id and its start time, since ids are reused. The directory
 * survives a reboot, as the changes do. Changes that go away with the TUN device need no entry.
 * With its last entry the directory goes, and the one around it unless others have files there.
 */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf } from '../../errors/reason.ts';
import { homeDirectory } from '../home.ts';
import { processStat } from '../process.ts';
import { syncDirectory, writeDurably } from './durable.ts';

export interface JournalEntry {
  /** Its file. */
  readonly file: string;
  /** Writes it again, with other data. Throws the file system's error; then it is as before. */
  replace(data: unknown): void;
  /** Throws the file system's error. */
  remove(): void;
}

/** An entry as it was read. The part that wrote it checks `data`. */
export interface AbandonedEntry extends JournalEntry {
  readonly kind: string;
  readonly data: unknown;
}

export interface StoredEntry extends AbandonedEntry {
  /** Whether its program still runs. */
  readonly running: boolean;
}

interface Owner {
  readonly pid: number;
  /** The boot id, and field 22 of proc_pid_stat(5): clock ticks since boot. */
  readonly startTime: string;
}

/**
 * If the process in an unfinished entry's name is running, it may still be writing the entry, but
 * not for longer than this.
 */
const UNFINISHED_MS = 60_000;
/** Of a symbolic link all bits are set. */
const OTHERS_MAY_WRITE = 0o022;
const UNFINISHED = '.new';
/** Attempts to write an entry while other programs remove the directory. */
const TRIES = 10;
/** In the directory of all programs' state. */
const OWN_DIRECTORY = 'tunnel';

/**
 * root's directory is the same for the whole machine: sudo and a root shell may have different home
 * directories.
 */
export function journalDirectory(
  env: NodeJS.ProcessEnv = process.env,
  uid = process.geteuid?.(),
): string {
  if (uid === 0) return '/var/lib/tunnel/journal';
  const state = env['XDG_STATE_HOME'];
  // Relative paths are ignored (XDG Base Directory Specification).
  return join(
    state?.startsWith('/') ? state : join(homeDirectory(), '.local/state'),
    OWN_DIRECTORY,
    'journal',
  );
}

export class Journal {
  readonly #directory: string;
  #count = 0;

  constructor(directory: string = journalDirectory()) {
    this.#directory = directory;
  }

  /**
   * Writes an entry. Throws TunnelError `journal`: then the change must not be made.
   */
  record(kind: string, data: unknown): JournalEntry {
    for (let tries = 1; ; tries++) {
      try {
        this.#makeDirectory();
        this.#requireOwnDirectory();
        const owner = ownerOf(process.pid);
        return entryAt(this.#write(JSON.stringify({ kind, owner, data })), kind, owner);
      } catch (cause) {
        if (cause instanceof TunnelError) throw cause;
        // Another program has removed its last entry, and the directory.
        if (isMissing(cause) && tries < TRIES) continue;
        throw new TunnelError('journal', `the journal can't be written: ${reasonOf(cause)}`, {
          hint: `make ${this.#directory} a directory that can be written to, or use "tunnel exec", which needs no journal`,
          cause,
        });
      }
    }
  }

  #makeDirectory(): void {
    const first = mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    if (first === undefined) return; // it existed
    for (let made = this.#directory; made.length >= first.length; made = dirname(made))
      syncDirectory(dirname(made));
  }

  /**
   * Whoever can write into it decides what is restored. Throws the file system's error, or
   * TunnelError `journal`.
   */
  #requireOwnDirectory(): void {
    const status = lstatSync(this.#directory, { throwIfNoEntry: false });
    if (status === undefined) return; // another program has just removed it
    const { uid, mode } = status;
    if (uid === process.geteuid?.() && (mode & OTHERS_MAY_WRITE) === 0) return;
    throw new TunnelError('journal', `others may write into the journal, ${this.#directory}`, {
      hint: 'look at what is in it, and remove it; the next start makes it again',
    });
  }

  /** Returns the file's path. A file of this name is always complete. */
  #write(text: string): string {
    for (;;) {
      const file = join(this.#directory, `${process.pid}-${this.#count++}.json`);
      // An earlier program with the same process id may have left an entry, which must not be lost.
      if (existsSync(file)) continue;
      write(file, text);
      return file;
    }
  }

  /**
   * Entries of programs that no longer run, the newest first: the last change is undone first.
   * One that can't be read has the kind `unreadable`. Throws TunnelError `journal` if the directory
   * isn't the program's own.
   */
  abandoned(): AbandonedEntry[] {
    return this.#entries()
      .filter(({ running }) => !running)
      .map((entry) => ({ entry, written: writtenAt(entry.file) }))
      .sort((a, b) => b.written - a.written)
      .map(({ entry }) => entry);
  }

  /** Entries of this program and of others that run. Throws as `abandoned` does. */
  running(): AbandonedEntry[] {
    return this.#entries().filter(({ running }) => running);
  }

  #entries(): StoredEntry[] {
    let files: string[];
    try {
      files = readdirSync(this.#directory).filter((name) => /\.json(\.new)?$/.test(name));
    } catch {
      return []; // no directory: nothing has ever been written
    }
    this.#requireOwnDirectory();
    return files.sort().flatMap((name) => {
      const file = join(this.#directory, name);
      const entry = name.endsWith(UNFINISHED) ? undefined : readEntry(file);
      if (entry === undefined)
        return mayBeWritten(file, Number.parseInt(name, 10))
          ? []
          : [
              {
                kind: 'unreadable',
                data: file,
                running: false,
                ...entryAt(file, 'unreadable', undefined),
              },
            ];
      const { kind, owner, data } = entry;
      const now = ownerOf(owner.pid);
      const running = now !== undefined && now.startTime === owner.startTime;
      return [{ kind, data, running, ...entryAt(file, kind, owner) }];
    });
  }
}

/** In milliseconds of the clock; 0 if somebody else has just removed it. */
function writtenAt(file: string): number {
  return lstatSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function entryAt(file: string, kind: string, owner: Owner | undefined): JournalEntry {
  return {
    file,
    replace: (data) => write(file, JSON.stringify({ kind, owner, data })),
    remove: () => remove(file),
  };
}

/** The file has its old text or the new one, whatever happens. */
function write(file: string, text: string): void {
  const unfinished = `${file}${UNFINISHED}`;
  rmSync(unfinished, { force: true });
  try {
    writeDurably(unfinished, text, { mode: 0o600 });
    renameSync(unfinished, file);
  } catch (error) {
    rmSync(unfinished, { force: true });
    throw error;
  }
  syncDirectory(dirname(file));
}

function remove(file: string): void {
  rmSync(file, { force: true });
  const directory = dirname(file);
  try {
    syncDirectory(directory);
  } catch (error) {
    if (!isMissing(error)) throw error; // else another program has removed its last entry, too
  }
  removeEmpty(directory);
}

function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
    const around = dirname(directory);
    if (basename(around) === OWN_DIRECTORY) rmdirSync(around);
  } catch {
    // There are other files in it, or it may not be removed, which harms nobody.
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/** Whether a program may still be writing it. */
function mayBeWritten(file: string, pid: number): boolean {
  if (ownerOf(pid) === undefined) return false;
  const status = lstatSync(file, { throwIfNoEntry: false });
  // The process may be another one with the same id.
  return status !== undefined && Math.abs(Date.now() - status.mtimeMs) < UNFINISHED_MS;
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

/** undefined: no such process, or a zombie. */
function ownerOf(pid: number): Owner | undefined {
  const stat = processStat(pid);
  if (stat === undefined || /^[ZX]$/.test(stat.state)) return undefined;
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return { pid, startTime: `${boot} ${stat.startTime}` };
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
