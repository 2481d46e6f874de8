/**
 * Whose the TCP sockets of this machine are: the user, from the kernel's tables (proc(5),
 * /proc/net/tcp), and for sockets of our own user the process, from the descriptors in /proc/PID/fd.
 *
 *   sourceOf() -> a look, shared by all who ask until it begins
 *                   tables     user and inode of each socket that is asked for
 *                   processes  newest first, until the inodes of our own user are found
 *
 * The kernel writes the whole table for each look, and a process may have thousands of descriptors.
 * So looks take a tenth of a processor at the most, and pause after each process.
 *
 * Limits: MAX_ASKED questions wait for a look; any more are answered "unknown" at once.
 * MAX_DESCRIPTORS are read in one look.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { endianness, networkInterfaces } from 'node:os';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { addressFromBytes } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';

export const MAX_ASKED = 8192;
/** In one look: 50 ms or so of a processor, in pieces. */
export const MAX_DESCRIPTORS = 16_384;
/** Between two looks, and as a multiple of the time that the last one took. */
const PAUSE_MS = 10;
const PAUSE_FACTOR = 10;
const MAX_PAUSE_MS = 500;
/** For how long the addresses of this machine are believed. */
const ADDRESSES_MS = 5_000;
/** States of a socket that may ask for a connection: established, and SYN sent. */
const CONNECTING = new Set(['01', '02']);

export interface SocketSource {
  readonly user: number;
  /** `PID (name)`; undefined: of another user, or not found. */
  readonly process: string | undefined;
}

export interface SocketSourcesOptions {
  /** The text of `tcp` or `tcp6`. Default: this network's. */
  readonly table?: (name: string) => Promise<string>;
  /** This machine's own addresses, canonical. Default: those of its devices. */
  readonly addresses?: () => ReadonlySet<string>;
  /** Default: /proc. */
  readonly proc?: string;
  /** Whose processes are looked at. Default: this process's user. */
  readonly user?: number;
}

interface Question {
  readonly socket: Destination;
  readonly answer: (source: SocketSource | undefined) => void;
}

interface Entry {
  readonly user: number;
  readonly inode: string;
}

export class SocketSources {
  readonly #table: (name: string) => Promise<string>;
  readonly #ownAddresses: () => ReadonlySet<string>;
  readonly #proc: string;
  readonly #user: number | undefined;
  #addresses: ReadonlySet<string> = new Set();
  #addressesUntil = Number.NEGATIVE_INFINITY;
  #waiting: Question[] = [];
  #looking = false;

  constructor(options: SocketSourcesOptions = {}) {
    const { table = readTable, addresses = ownAddresses, proc = '/proc' } = options;
    this.#table = table;
    this.#ownAddresses = addresses;
    this.#proc = proc;
    this.#user = options.user;
  }

  /** Whether the canonical address is this machine's own. */
  isHere(address: string): boolean {
    if (address.startsWith('127.') || address === '::1') return true;
    const now = performance.now();
    if (now >= this.#addressesUntil) {
      this.#addresses = this.#ownAddresses();
      this.#addressesUntil = now + ADDRESSES_MS;
    }
    return this.#addresses.has(address);
  }

  /**
   * Whose the socket is that has this local address, which is canonical. Undefined: nobody's, or it
   * can't be found out. Never rejects.
   */
  sourceOf(socket: Destination): Promise<SocketSource | undefined> {
    if (this.#waiting.length >= MAX_ASKED) return Promise.resolve(undefined);
    return new Promise((answer) => {
      this.#waiting.push({ socket, answer });
      if (!this.#looking) void this.#look();
    });
  }

  /** Until nobody waits. Never rejects. */
  async #look(): Promise<void> {
    this.#looking = true;
    // All questions of this turn come with the first one.
    await turn();
    while (this.#waiting.length > 0) {
      const questions = this.#waiting;
      this.#waiting = [];
      const began = performance.now();
      await this.#answer(questions);
      const pause = PAUSE_MS + PAUSE_FACTOR * (performance.now() - began);
      await delay(Math.min(pause, MAX_PAUSE_MS));
    }
    this.#looking = false;
  }

  async #answer(questions: readonly Question[]): Promise<void> {
    const entries = new Map<string, Entry>();
    const ports = new Set(questions.map(({ socket }) => socket.port));
    for (const name of ['tcp', 'tcp6']) {
      try {
        readEntries(await this.#table(name), ports, entries);
      } catch {
        // There is no such table without IPv6, or where /proc is hidden: then nobody is found.
      }
    }
    const asked = questions.map(({ socket, answer }) => ({
      answer,
      entry: entries.get(key(socket)),
    }));
    const user = this.#user ?? process.getuid?.();
    // root may look at all processes.
    const shown = asked.flatMap(({ entry }) =>
      entry !== undefined && (user === 0 || entry.user === user) ? [entry.inode] : [],
    );
    const processes = await this.#processesOf(new Set(shown));
    for (const { entry, answer } of asked)
      answer(entry && { user: entry.user, process: processes.get(entry.inode) });
  }

  /** `PID (name)` by inode. */
  async #processesOf(wanted: Set<string>): Promise<ReadonlyMap<string, string>> {
    const found = new Map<string, string>();
    if (wanted.size === 0) return found;
    let descriptors = 0;
    for (const pid of this.#pids()) {
      let name: string | undefined;
      for (const inode of this.#sockets(pid)) {
        descriptors++;
        if (!wanted.delete(inode)) continue;
        name ??= this.#nameOf(pid);
        found.set(inode, name);
      }
      if (wanted.size === 0 || descriptors >= MAX_DESCRIPTORS) break;
      await turn();
    }
    return found;
  }

  /** The newest first: who has just been started is seldom the one that has most descriptors. */
  #pids(): readonly number[] {
    return readdirSync(this.#proc)
      .map(Number)
      .filter((pid) => Number.isInteger(pid) && pid !== process.pid)
      .sort((one, other) => other - one);
  }

  /** The inodes of a process's sockets; those of other users are not shown. */
  *#sockets(pid: number): Iterable<string> {
    const directory = `${this.#proc}/${pid}/fd`;
    let descriptors: readonly string[];
    try {
      descriptors = readdirSync(directory);
    } catch {
      return;
    }
    for (const descriptor of descriptors) {
      try {
        const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`${directory}/${descriptor}`))?.[1];
        yield inode ?? '';
      } catch {
        // It has been closed meanwhile.
      }
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

/**
 * Adds the sockets with these ports: `sl local_address rem_address st queues timer retrnsmt uid
 * timeout inode ...`, addresses in hexadecimal.
 */
function readEntries(table: string, ports: ReadonlySet<number>, entries: Map<string, Entry>): void {
  const line =
    /^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) \S+ ([0-9A-F]{2}) \S+ \S+ \S+ +(\d+) +\d+ (\d+)/gm;
  for (const [, address = '', hex = '', state = '', user = '', inode = '0'] of table.matchAll(
    line,
  )) {
    const port = Number.parseInt(hex, 16);
    if (inode === '0' || !CONNECTING.has(state) || !ports.has(port)) continue;
    entries.set(key({ host: hostOf(address), port }), { user: Number(user), inode });
  }
}

/** The kernel writes each four octets as one number of the machine. */
function hostOf(hex: string): string {
  const octets = Buffer.from(hex, 'hex');
  if (endianness() === 'LE') octets.swap32();
  const mapped = octets.length === 16 && octets.toString('hex', 0, 12) === `${'00'.repeat(10)}ffff`;
  return addressFromBytes(mapped ? octets.subarray(12) : octets);
}

function key({ host, port }: Destination): string {
  return `${host} ${port}`;
}

function readTable(name: string): Promise<string> {
  return readFile(`/proc/net/${name}`, 'latin1');
}

function ownAddresses(): ReadonlySet<string> {
  const devices = Object.values(networkInterfaces());
  return new Set(devices.flatMap((addresses = []) => addresses.map(({ address }) => address)));
}
