/**
 * Which processes have these sockets: a search through the descriptors of processes (proc(5),
 * /proc/PID/fd). Those of other users are not shown.
 *
 * Whoever has opened a connection mostly opens another one. So the processes that were found last
 * are looked at first, and then the others, the newest first. A search ends when all are found.
 *
 *   a process ─► its descriptors, AT_ONCE at a time ─► other work goes on ─► ...
 *
 * One process may have a million descriptors. So its list is not read at once either, and no search
 * holds up the packets for longer than AT_ONCE descriptors take.
 *
 * Limit: MAX_DESCRIPTORS are read in one search; who isn't found then has no known process.
 */
import { type Dir, opendirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';

export const MAX_DESCRIPTORS = 16_384;
/** Descriptors between two turns of the event loop: some 2 ms. */
export const AT_ONCE = 256;
/** Processes that are looked at first. */
const MAX_RECENT = 8;

export class SocketProcesses {
  readonly #proc: string;
  /** The one found last comes last. */
  #recent: readonly number[] = [];

  constructor(proc = '/proc') {
    this.#proc = proc;
  }

  /**
   * Calls `found` for each of these sockets, by their inodes, that a process has, as `PID (name)`.
   * Lets other work go on after each process and after AT_ONCE descriptors, and resolves with the
   * milliseconds that it has taken itself. Rejects if processes can't be listed, as without
   * descriptors.
   */
  async search<Asked>(
    asked: Iterable<readonly [inode: string, asked: Asked]>,
    found: (asked: Asked, process: string) => void,
  ): Promise<number> {
    const wanted = new Map(asked);
    let descriptors = 0;
    let spent = 0;
    let began = performance.now();
    const letOthersWork = async (): Promise<void> => {
      spent += performance.now() - began;
      await turn();
      began = performance.now();
    };
    const isOver = (): boolean => wanted.size === 0 || descriptors >= MAX_DESCRIPTORS;
    for (const pid of this.#pids()) {
      let name: string | undefined;
      for (const inode of this.#sockets(pid)) {
        descriptors++;
        const one = wanted.get(inode);
        if (one !== undefined) {
          wanted.delete(inode);
          name ??= this.#nameOf(pid);
          found(one, name);
        }
        if (isOver()) break;
        if (descriptors % AT_ONCE === 0) await letOthersWork();
      }
      if (name !== undefined) this.#remember(pid);
      if (isOver()) break;
      await letOthersWork();
    }
    return spent + performance.now() - began;
  }

  #remember(pid: number): void {
    const others = this.#recent.filter((other) => other !== pid);
    this.#recent = [...others.slice(1 - MAX_RECENT), pid];
  }

  /** The list of all is read when those that were found last don't have what is wanted. */
  *#pids(): Iterable<number> {
    const recent = this.#recent.toReversed();
    yield* recent;
    // Who has just been started is seldom the one that has most descriptors.
    yield* readdirSync(this.#proc)
      .map(Number)
      .filter((pid) => Number.isInteger(pid) && pid !== process.pid && !recent.includes(pid))
      .sort((one, other) => other - one);
  }

  /** The inodes of a process's sockets, and '' for its other descriptors. */
  *#sockets(pid: number): Iterable<string> {
    const directory = `${this.#proc}/${pid}/fd`;
    const descriptors = opened(directory);
    if (descriptors === undefined) return;
    try {
      for (let entry = next(descriptors); entry !== undefined; entry = next(descriptors))
        yield inodeOf(`${directory}/${entry}`);
    } finally {
      descriptors.closeSync();
    }
  }

  #nameOf(pid: number): string {
    try {
      return `${pid} (${readFileSync(`${this.#proc}/${pid}/comm`, 'utf8').trim()})`;
    } catch {
      return `${pid}`; // it has ended
    }
  }
}

/** undefined: the process has ended, or is another user's. */
function opened(directory: string): Dir | undefined {
  try {
    return opendirSync(directory, { bufferSize: AT_ONCE });
  } catch {
    return undefined;
  }
}

/** The name of the next one; undefined: there is none, or the process has ended. */
function next(descriptors: Dir): string | undefined {
  try {
    return descriptors.readSync()?.name;
  } catch {
    return undefined;
  }
}

/** '' for what is no socket, or has been closed meanwhile. */
function inodeOf(path: string): string {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(path))?.[1] ?? '';
  } catch {
    return '';
  }
}
