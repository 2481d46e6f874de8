/**
 * Whose the TCP sockets of this machine are: the user, and for sockets of our own user the process.
 *
 *   sourceOf() -> at once: the kernel is asked for the one connection (sock_diag(7))
 *              -> where that isn't possible, or not now (kernelpatience.ts), a look at its tables
 *                 (proc(5), /proc/net/tcp)
 *              -> of our own user: a search through its processes (socketprocesses.ts)
 *
 * The kernel writes the whole table for each look, and processes have many descriptors. So a look
 * serves all who ask until it begins, each is answered as soon as it is found, and there are only
 * so many looks that they take a fifth of a processor at the most (sockettables.ts).
 *
 * A connection is looked for by both of its ends. The kernel gives one port to several sockets if
 * they connect to different peers, so the own end may be that of another process as well. While a
 * table is read, connections that end can move others past the reader. So a connection that isn't
 * in it is looked for TRIES times.
 *
 * Limit: MAX_ASKED questions wait for a look; any more are answered "unknown" at once, and counted.
 */
import { isIP } from 'node:net';
import { addon } from '../native/addon.ts';
import { addressBytes } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { type Observer, silentObserver } from '../observe/observer.ts';
import { KernelPatience } from './kernelpatience.ts';
import { SocketProcesses } from './socketprocesses.ts';
import {
  CONNECTING,
  Looks,
  listedSockets,
  machineAddresses,
  readSocketTable,
} from './sockettables.ts';

export const MAX_ASKED = 8192;
/** Looks at the tables for one connection. */
export const TRIES = 2;
/** A fifth of a processor at the most. */
const PAUSES = { limit: MAX_ASKED, pauseFactor: 4, maxPauseMs: 200 };
/** For how long the addresses of this machine are believed. */
const ADDRESSES_MS = 5_000;

export interface SocketSource {
  readonly user: number;
  /** For whoever looks for the process: with `findsProcesses: false`. */
  readonly inode?: string;
  /** `PID (name)`, once it is known; undefined: of another user, or not found. Never rejects. */
  readonly process: Promise<string | undefined> | undefined;
}

/** Both ends are canonical. Undefined: there is no such socket. Throws if it can't be told. */
export type AskForSocket = (
  socket: Destination,
  peer: Destination,
) => { readonly user: number; readonly inode: string } | undefined;

export interface SocketSourcesOptions {
  /** Default: of this network. Null: only the tables tell. */
  readonly ask?: AskForSocket | null;
  /** The text of `tcp` or `tcp6`. Default: this network's. */
  readonly table?: (name: string) => Promise<string>;
  /** This machine's own addresses, canonical. Default: those of its devices. */
  readonly addresses?: () => ReadonlySet<string>;
  /** False: no processes are looked for. Default: true. */
  readonly findsProcesses?: boolean;
  /** Default: /proc. */
  readonly proc?: string;
  /** Whose processes are looked at. Default: this process's user. */
  readonly user?: number;
  readonly observer?: Observer;
}

interface Question {
  /** Both ends. */
  readonly connection: string;
  readonly port: number;
  /** Looks that it may still have, after the next one. */
  readonly triesLeft: number;
  readonly answer: (source: SocketSource | undefined) => void;
}

interface ProcessQuestion {
  readonly inode: string;
  readonly answer: (process: string | undefined) => void;
}

interface Entry {
  readonly user: number;
  readonly inode: string;
}

export class SocketSources {
  readonly #ask: AskForSocket | null;
  readonly #patience: KernelPatience;
  readonly #observer: Observer;
  readonly #table: (name: string) => Promise<string>;
  readonly #ownAddresses: () => ReadonlySet<string>;
  readonly #search: SocketProcesses;
  readonly #user: number | undefined;
  readonly #findsProcesses: boolean;
  #addresses: ReadonlySet<string> = new Set();
  #addressesUntil = Number.NEGATIVE_INFINITY;
  readonly #users = new Looks<Question>({
    ...PAUSES,
    look: (asked) => this.#lookAtTables(asked),
    giveUp: ({ answer }) => answer(undefined),
  });
  readonly #processes: Looks<ProcessQuestion>;

  constructor(options: SocketSourcesOptions = {}) {
    const { ask = askKernel, table = readSocketTable, addresses = machineAddresses } = options;
    this.#ask = ask;
    this.#observer = options.observer ?? silentObserver;
    this.#patience = new KernelPatience(this.#observer);
    this.#processes = new Looks<ProcessQuestion>({
      ...PAUSES,
      look: (asked) => this.#lookAtProcesses(asked),
      giveUp: ({ answer }) => answer(undefined),
    });
    this.#table = table;
    this.#ownAddresses = addresses;
    this.#search = new SocketProcesses(options.proc);
    this.#user = options.user ?? process.getuid?.();
    this.#findsProcesses = options.findsProcesses ?? true;
  }

  /** Whether the canonical address is this machine's own. Never throws. */
  isHere(address: string): boolean {
    if (address.startsWith('127.') || address === '::1') return true;
    const now = performance.now();
    if (now >= this.#addressesUntil) {
      this.#addressesUntil = now + ADDRESSES_MS;
      try {
        this.#addresses = this.#ownAddresses();
      } catch {
        // No descriptor is left to list them with: those that were known are believed.
      }
    }
    return this.#addresses.has(address);
  }

  /**
   * Whose the socket is that has this local address and is connected, or connecting, to `peer`;
   * both are canonical. Undefined: nobody's, or it can't be found out. A promise where it takes a
   * moment; never rejects.
   */
  sourceOf(
    socket: Destination,
    peer: Destination,
  ): SocketSource | undefined | Promise<SocketSource | undefined> {
    const canAsk = isIP(socket.host) !== 0 && isIP(socket.host) === isIP(peer.host);
    while (this.#ask !== null && canAsk && this.#patience.mayAsk()) {
      try {
        const entry = this.#ask(socket, peer);
        this.#patience.answered();
        // The kernel shows inode 0 for what its process has closed.
        return entry === undefined || entry.inode === '0' ? undefined : this.#source(entry);
      } catch (error) {
        this.#patience.failed(error);
      }
    }
    const { port } = socket;
    const connection = connectionOf(socket, peer);
    return new Promise((answer) => {
      this.#askTables({ connection, port, triesLeft: TRIES - 1, answer });
    });
  }

  #askTables(question: Question): void {
    if (this.#users.ask(question)) return;
    this.#observer.count('tunnel_socket_owners_over_limit_total');
    question.answer(undefined);
  }

  async #lookAtTables(questions: readonly Question[]): Promise<void> {
    const open = grouped(questions, ({ connection }) => connection);
    const ports = new Set(questions.map(({ port }) => port));
    for (const name of ['tcp', 'tcp6']) {
      if (open.size === 0) return;
      const entries = new Map<string, Entry>();
      try {
        for (const listed of listedSockets(await this.#table(name), ports)) {
          const { local, peer, state, user, inode } = listed;
          if (inode !== '0' && CONNECTING.has(state))
            entries.set(connectionOf(local, peer), { user, inode });
        }
      } catch {
        // There is no such table without IPv6, or where /proc is hidden: then nobody is found.
      }
      for (const [connection, entry] of entries) {
        for (const { answer } of open.get(connection) ?? []) answer(this.#source(entry));
        open.delete(connection);
      }
    }
    for (const question of [...open.values()].flat()) {
      const { triesLeft, answer } = question;
      if (triesLeft > 0) this.#askTables({ ...question, triesLeft: triesLeft - 1 });
      else answer(undefined);
    }
  }

  /** With its process, if it is one of our own user's: those of others are not shown. */
  #source({ user, inode }: Entry): SocketSource {
    // Without a promise for those that are not looked for: there may be thousands in a second.
    if (!this.#findsProcesses) return { user, inode, process: undefined };
    if (this.#user !== user) return { user, process: undefined };
    if (this.#processes.isFull) {
      this.#observer.count('tunnel_socket_owners_over_limit_total');
      return { user, process: undefined };
    }
    const process = new Promise<string | undefined>((tell) => {
      if (!this.#processes.ask({ inode, answer: tell })) tell(undefined);
    });
    return { user, process };
  }

  /** Rejects if processes can't be listed, as without descriptors. */
  async #lookAtProcesses(questions: readonly ProcessQuestion[]): Promise<void> {
    const wanted = grouped(questions, ({ inode }) => inode);
    await this.#search.search(wanted, (asked, process) => {
      for (const { answer } of asked) answer(process);
    });
    // Who has been answered is not answered again.
    for (const { answer } of questions) answer(undefined);
  }
}

function grouped<T>(all: readonly T[], keyOf: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const group = groups.get(keyOf(one));
    if (group === undefined) groups.set(keyOf(one), [one]);
    else group.push(one);
  }
  return groups;
}

function connectionOf(socket: Destination, peer: Destination): string {
  return `${socket.host} ${socket.port} ${peer.host} ${peer.port}`;
}

/**
 * The addresses of a question, IPv4 and IPv6. V8 moves a small array out of its heap when native
 * code first looks at it, which takes a third of the whole question; so it gets the same each time.
 */
const ONE = [Buffer.alloc(4), Buffer.alloc(16)] as const;
const OTHER = [Buffer.alloc(4), Buffer.alloc(16)] as const;

function kept(bytes: Uint8Array, [short, long]: typeof ONE): Buffer {
  const into = bytes.length === short.length ? short : long;
  into.set(bytes);
  return into;
}

/** Throws where the kernel or the native part can't tell. Inode 0: no process has it any more. */
export function askKernel(socket: Destination, peer: Destination): Entry | undefined {
  const one = kept(addressBytes(socket.host), ONE);
  const other = kept(addressBytes(peer.host), OTHER);
  const found = addon().socketOwner(one, socket.port, other, peer.port);
  return found && { user: found[0], inode: String(found[1]) };
}
